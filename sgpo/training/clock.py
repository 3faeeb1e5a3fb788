"""Where the seconds of a step go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of the phases of a step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Start the next lap now."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the current lap under `name` and start the next one."""
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Time the block under `name`, and leave it out of the current lap."""
        began = time.perf_counter()
        yield
        self.laps[name] = time.perf_counter() - began
        self._since += self.laps[name]
