"""Where the seconds of a step go."""

import time


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
