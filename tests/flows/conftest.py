"""A Prefect API for all flow tests, and Prefect's tables made once for all servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with Prefect's tables and nothing in them, to be copied: making them takes a server ten seconds."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-tables"
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            aside = home.with_suffix(".aside")
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"], check=True,
                capture_output=True, env={**os.environ, "PREFECT_HOME": str(aside), "PREFECT_API_URL": ""},
            )  # fmt: skip
            aside.rename(home)
    return home / "prefect.db"


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """One real API for the session: starting it takes longer than all flow tests that use it.

    Files that use it go to one worker (tests/conftest.py).
    """
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180}),
        prefect_test_harness(server_startup_timeout=180),
    ):
        yield
