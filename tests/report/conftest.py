"""The tiny testbed's data, and a run made on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tiny_testbed import data_folder

sys.path.insert(0, str(Path(__file__).parent))

from made_run import make_run

__all__ = ["data_folder"]


@pytest.fixture
def made(tmp_path: Path, data_folder: Path) -> Path:
    return make_run(tmp_path / "the-run", data_folder)
