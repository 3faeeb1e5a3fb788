"""The tiny testbed, whole: with held-out problems, and a recipe that keeps what it makes in the test's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_testbed import data_folder, model_folder, tokenizer

from sgpo.checks import calibration, machine
from sgpo.config import RunConfig, load_config
from sgpo.config.testbed import WorldConfig
from sgpo.planning.devices import GIB
from sgpo.problems import read_problems, write_problems
from sgpo.testbed.world import build_split

__all__ = ["data_folder", "model_folder", "tokenizer"]


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that imports all of training takes seconds: `test_process_starts` starts one for all."""
    monkeypatch.setattr(calibration, "start_seconds", lambda: 2.0)


@pytest.fixture(autouse=True)
def free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with as much room on every machine: CI's had three GiB."""
    usage = SimpleNamespace(total=400 * GIB, used=300 * GIB, free=100 * GIB)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage)


@pytest.fixture
def data(data_folder: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may spoil."""
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    write_problems(read_problems(data / "splits" / "train.parquet"), data / "problems" / "train.parquet")
    write_problems(build_split(WorldConfig(held_out=40), "held_out"), data / "problems" / "held_out.parquet")
    return data


@pytest.fixture
def recipe(data: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """A recipe over these data, with further settings; its registry and runs are in the test's folder."""

    def make(*overrides: str) -> RunConfig:
        places = [f"data={data}", f"runs={tmp_path / 'runs'}", f"tracking.mlflow_uri=sqlite:///{tmp_path}/mlflow.db"]
        return load_config(None, [*places, *overrides])

    return make
