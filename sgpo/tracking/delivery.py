"""The queue between a run's files and MLflow."""

import itertools
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from sgpo.config import TrackingConfig
from sgpo.tracking.client import reason, short_patience
from sgpo.tracking.mirror import MlflowMirror

_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 1800.0
# What MLflow will refuse again however often it is asked; everything else may be an outage.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class Delivery:
    """What MLflow has yet to get, in order, sent by a thread: whoever logs never waits for a server.

    It never raises and, after a failure, waits before it tries again.
    """

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
        self._changed = threading.Condition()
        self._asked, self._tried, self._ending = 0, 0, False
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def add(self, item: dict[str, Any]) -> None:
        """Have `item` delivered; returns at once."""
        with self._changed:
            self._waiting.append(item)
            self._changed.notify_all()

    def forget(self, step: int) -> None:
        """Leave out the waiting rows of `step` and later: they will be made again."""
        with self._changed:
            self._waiting = deque(item for item in self._waiting if "kind" in item or item["step"] < step)

    def flush(self) -> None:
        """Return when all is delivered, or a try to do so has failed."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._tried >= mine)

    def close(self) -> None:
        """Try a last time, and end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        ending = False
        while not ending:
            with self._changed:
                while not self._due():
                    self._changed.wait(max(0.0, self._next_try - time.monotonic()) if self._waiting else None)
                ending, asked = self._ending, self._asked
            self._deliver()
            with self._changed:
                self._tried = asked
                self._changed.notify_all()

    def _due(self) -> bool:
        asked = self._ending or self._asked > self._tried
        return asked or (bool(self._waiting) and time.monotonic() >= self._next_try)

    def _deliver(self) -> None:
        if not self._waiting:
            return
        try:
            with short_patience():
                if self._mirror is None:
                    self._mirror = MlflowMirror(self._run_dir, self._tracking, self._start, self._say)
                while items := self._next_items():
                    self._send(self._mirror, items)
        except Exception as error:  # tracking must never stop a run, whatever a server, database or disk raises
            self._outage(error)
        else:
            if self._silent:
                self._say(f"MLflow at {self._tracking.mlflow_uri} answers again, all was delivered")
            self._silent, self._wait, self._next_try = False, _FIRST_WAIT_S, 0.0

    def _next_items(self) -> list[dict[str, Any]]:
        """Return the rows at the head of the queue, which go together, or one event; empty when nothing waits."""
        with self._changed:
            rows = list(itertools.takewhile(lambda item: "kind" not in item, self._waiting))
            return rows or list(itertools.islice(self._waiting, 1))

    def _send(self, mirror: MlflowMirror, items: list[dict[str, Any]]) -> None:
        """Deliver, or leave out what MLflow refuses for good."""
        from mlflow.exceptions import MlflowException

        try:
            if "kind" in items[0]:
                mirror.apply(items[0])
            else:
                mirror.log_rows(items)
        except FileNotFoundError as error:
            self._say(f"an artifact is gone: {reason(error)}")
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            self._say(f"MLflow refused something, it is only in the files: {reason(error)}")
        sent = {id(item) for item in items}
        with self._changed:  # some of them may have been forgotten meanwhile
            while self._waiting and id(self._waiting[0]) in sent:
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
