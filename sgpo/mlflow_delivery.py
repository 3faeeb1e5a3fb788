"""The queue between a run's files and MLflow."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from sgpo.config import TrackingConfig
from sgpo.mlflow_client import reason, short_patience
from sgpo.mlflow_mirror import MlflowMirror

_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 1800.0
# What MLflow will refuse again however often it is asked; everything else may be an outage.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class Delivery:
    """What MLflow has yet to get, in order. It never raises and, after a failure, waits before it tries again."""

    def __init__(
        self, run_dir: Path, tracking: TrackingConfig, events: list[dict[str, Any]], rows: list[dict[str, Any]]
    ) -> None:
        self._run_dir = run_dir
        self._tracking = tracking
        self._start = events[0]
        # What an earlier process of this run may not have delivered; the mirror leaves out what MLflow has.
        self._waiting: deque[dict[str, Any]] = deque([*events, *rows])
        self._mirror: MlflowMirror | None = None
        self._silent = False
        self._wait, self._next_try = _FIRST_WAIT_S, 0.0
        self._said: set[str] = set()

    def add(self, item: dict[str, Any]) -> None:
        self._waiting.append(item)
        self.deliver()

    def forget(self, step: int) -> None:
        """Leave out the waiting rows of `step` and later: they will be made again."""
        self._waiting = deque(item for item in self._waiting if "kind" in item or item["step"] < step)

    def deliver(self, last: bool = False) -> None:
        if not self._waiting or (time.monotonic() < self._next_try and not last):
            return
        try:
            with short_patience():
                if self._mirror is None:
                    self._mirror = MlflowMirror(self._run_dir, self._tracking, self._start, self._say)
                while self._waiting:
                    self._send(self._mirror)
        except Exception as error:  # tracking must never stop a run, whatever a server, database or disk raises
            self._outage(error)
        else:
            if self._silent:
                self._say(f"MLflow at {self._tracking.mlflow_uri} answers again, all was delivered")
            self._silent, self._wait, self._next_try = False, _FIRST_WAIT_S, 0.0

    def _send(self, mirror: MlflowMirror) -> None:
        """Deliver the rows at the head of the queue together, or one event; leave out what MLflow refuses for good."""
        from mlflow.exceptions import MlflowException

        rows = []
        for item in self._waiting:
            if "kind" in item:
                break
            rows.append(item)
        try:
            if rows:
                mirror.log_rows(rows)
            else:
                mirror.apply(self._waiting[0])
        except FileNotFoundError as error:
            self._say(f"an artifact is gone: {reason(error)}")
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            self._say(f"MLflow refused something, it is only in the files: {reason(error)}")
        for _ in range(max(1, len(rows))):
            self._waiting.popleft()

    def _outage(self, error: Exception) -> None:
        if not self._silent:
            why = "mlflow is not installed here" if isinstance(error, ImportError) else reason(error)
            self._say(
                f"no MLflow at {self._tracking.mlflow_uri}: {why}; the run goes on, its numbers are in "
                f"{self._run_dir / 'metrics.jsonl'}; deliver them later with `sgpo replay --run {self._run_dir}`"
            )
        self._silent = True
        self._next_try = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def _say(self, message: str) -> None:
        if message not in self._said:
            print(f"tracking: {self._run_dir}: {message}", file=sys.stderr)
        self._said.add(message)
