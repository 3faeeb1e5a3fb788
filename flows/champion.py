"""The champion's files, from the registry to the folder that the data stages read."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from flows.process import REPOSITORY
from sgpo.config import TrackingConfig
from sgpo.registry.models import download_version
from sgpo.registry.promotion import CHAMPION

CHAMPION_FOLDER = Path("data/champion")


@task(task_run_name="fetch {version}", retries=2, retry_delay_seconds=[2, 10])
def fetch_champion(tracking: TrackingConfig, version: str = CHAMPION) -> str:
    """Restore a version (number or alias) into data/champion, checksums verified; returns its number."""
    return download_version(tracking, version, REPOSITORY / CHAMPION_FOLDER)
