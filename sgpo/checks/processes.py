"""What a retraining takes beside sampling and gradients: processes that start and end, statistics, tracking.

All of it is the same for every model, and nearly all of it is Python that is loaded and run. So it is counted in
starts: the seconds that a process of training needs for its imports, measured on the spot. docs/measured/planning.md
has the commands that gave the numbers of starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache

from sgpo.amounts import shown_time
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams

IMPORTS = "import sgpo.training.run"
WITH_MODEL = 1.5
"""Starts that `sgpo train`, `evaluate`, `probe` or `check` takes: imports, verifier's processes, statistics, exit."""
SMALL = 0.3
"""Starts of `dvc repro`, `dvc push`, or a stage of data."""
FLOW = 2.0
"""Starts of what the flow itself does: tracking, comparison, registering, the report."""
PER_PROBLEM = {"scripted": 0.005, "recorded": 0.0012}
"""Starts that a problem's strategy takes with a strong model that answers at once."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes with a model and small ones, the seconds of all of them, and those of what the flow does itself."""

    with_model: int
    small: int
    seconds: float

    def describe(self) -> str:
        """Return it in a line."""
        small = f" and {self.small} without" if self.small else ""
        return f"{self.with_model} processes with the model{small}: {shown_time(self.seconds)}"


@cache
def start_seconds() -> float:
    """Return the seconds in which a new process has imported what training needs; measured once in this process."""
    path = os.pathsep.join(place for place in sys.path if place)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], env={**os.environ, "PYTHONPATH": path}, check=True)
    return time.perf_counter() - begun


def process_seconds(start: float, opening: float) -> float:
    """Return the seconds of a process with a model beside its work; `opening` is that of the model and its engine."""
    return WITH_MODEL * start + opening


def count_processes(
    config: RunConfig, params: PipelineParams | None, strategies_ahead: bool, start: float, opening: float
) -> Processes:
    """Return what is started for a retraining: by the flow where `params` say that it makes the data, else by hand.

    By hand one trains, evaluates twice and compares.
    """
    if params is None:
        return Processes(3, 0, 3 * process_seconds(start, opening))
    with_model = 4 + config.checks.before_training  # probe, training, champion, challenger
    small = 5 + 2 * strategies_ahead  # dvc repro of strategies, probe and splits, `sgpo split`, dvc push
    seconds = with_model * process_seconds(start, opening) + (small * SMALL + FLOW) * start
    return Processes(with_model, small, seconds)


def strategies_seconds(params: PipelineParams, problems: int, start: float) -> float:
    """Return the seconds of responses and strategies; 0.0 of an endpoint, whose speed nobody knows before it is asked.

    docs/strategies.md says how many it is asked for at a time.
    """
    return PER_PROBLEM.get(params.teacher.kind, 0.0) * problems * start
