"""Progress for whoever watches: a bar in a terminal, a line every half minute in a log."""

import sys
from typing import Any

from tqdm import tqdm

TERMINAL_S, LOG_S = 0.1, 30.0


def progress_bar(total: int, description: str, initial: int = 0, unit: str = "it") -> "tqdm[Any]":
    """Return a tqdm bar over `total`, of which `initial` was done earlier; in a log each state is a line of its own."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total, desc=description, initial=initial, unit=unit, mininterval=TERMINAL_S if terminal else LOG_S,
        maxinterval=10.0 if terminal else LOG_S, file=sys.stderr,
    )  # fmt: skip
