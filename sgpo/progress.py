"""Progress for whoever watches: a bar in a terminal, a line every half minute in a log."""

import os
import sys
from typing import Any

from tqdm import tqdm

TERMINAL_S, LOG_S = 0.1, 30.0
QUIET = "SGPO_QUIET"
"""Variable that `sgpo --quiet` sets, for the processes that it starts too."""


def is_quiet() -> bool:
    """Return whether bars and the lines of steps are left out; warnings, results and errors never are."""
    return os.environ.get(QUIET) == "1"


def progress_bar(total: int, description: str, initial: int = 0, unit: str = "it") -> "tqdm[Any]":
    """Return a tqdm bar over `total`, of which `initial` was done earlier; in a log each state is a line of its own."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total, desc=description, initial=initial, unit=unit, mininterval=TERMINAL_S if terminal else LOG_S,
        maxinterval=10.0 if terminal else LOG_S, file=sys.stderr, disable=is_quiet(),
    )  # fmt: skip
