"""How far a run is, as a progress artifact that Prefect's page draws as a bar."""

import re
import time
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from sgpo.names import artifact_key

_STEP = re.compile(r"\bstep\s+(\d+)/(\d+)")
_EVERY_S = 5.0


class Progress:
    """A bar from 0 to 100 %, made at its first use and changed at most every five seconds, except to its end."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = artifact_key(key), description
        self._artifact: UUID | None = None
        self._changed = 0.0

    def reach(self, percent: float) -> None:
        """Draw the bar at `percent`."""
        now = time.monotonic()
        if self._artifact is not None and percent < 100 and now - self._changed < _EVERY_S:
            return
        self._changed = now
        try:
            self._draw(percent)
        except httpx.HTTPError as error:  # a run goes on without its bar
            get_run_logger().warning("%s: %.0f %% is not shown: %s", self._key, percent, error)

    def _draw(self, percent: float) -> None:
        if self._artifact is None:
            made = create_progress_artifact(percent, key=self._key, description=self._description)
            assert isinstance(made, UUID)
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, progress=percent)

    def read_step(self, line: str) -> None:
        """Reach what a line such as "step   12/60 reward 0.41 …" says; other lines say nothing."""
        if found := _STEP.search(line):
            done, steps = int(found[1]), int(found[2])
            self.reach(100 * done / max(steps, 1))
