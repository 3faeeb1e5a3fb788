"""The processes of a study's cells. SIGTERM ends them too, as Ctrl-C does, which a terminal sends to all of them."""

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self


class CellProcesses:
    """A context manager that passes SIGTERM on to what it runs and raises KeyboardInterrupt in the main thread.

    Training then writes a checkpoint, from which the same study resumes. Without it a study that a job scheduler ends
    would leave its training behind, at work on the folder that the next start wants.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._before: object = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]

    def run(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Run a command to its end with its output in `log`; return its exit code, negative for a signal."""
        with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as it:
            self._running.add(it)
            if self._ended:  # between the signal and the thread's next command
                it.terminate()
            code = it.wait()
            self._running.discard(it)
        return code

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended = True
        for process in tuple(self._running):
            process.terminate()
        raise KeyboardInterrupt
