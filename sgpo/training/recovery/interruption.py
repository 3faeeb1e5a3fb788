"""SIGTERM and SIGINT: the step is finished, or given up after a grace period; the checkpoint says where to resume."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from sgpo.errors import UserError
from sgpo.training.world import World

PREEMPTED = os.EX_TEMPFAIL
"""Exit code of a run that was asked to stop: nothing is wrong, and the same command resumes it."""


class PreemptedError(UserError):
    """The run was asked to stop; what is done is in its checkpoint."""

    exit_code = PREEMPTED


class Interruption:
    """A context manager that turns the first signal into `requested`, and ends the process when the grace is over.

    torchrun and whoever cancels a run may both send SIGTERM: repeated ones change nothing. A second SIGINT (Ctrl-C
    twice) ends the process at once. Outside of the main thread, where no signal can be caught, it does nothing.
    """

    def __init__(self, grace_s: float) -> None:
        self.requested = False
        self._grace_s = grace_s
        self._timer: threading.Timer | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._timer is not None:
            self._timer.cancel()

    def requested_of_any(self, world: World) -> bool:
        """Whether any process was asked to stop; collective."""
        return bool(world.maximum({"requested": float(self.requested)})["requested"])

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT:
                self._give_up()
            return
        self.requested = True
        print(f"{signal.Signals(number).name}: ending after this step, or in {self._grace_s:g} s", flush=True)
        self._timer = threading.Timer(self._grace_s, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _give_up(self) -> None:
        print("the step is given up; the run resumes from its newest checkpoint", flush=True)
        os._exit(PREEMPTED)
