"""`--restart` of a stored run: nothing of what was stored before is trained on, on this machine or on another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from s3_server import contents
from small_run import Killed, of_run, run

from sgpo.config import RunConfig, StorageConfig
from sgpo.problems import read_problems, write_problems

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path, data_folder: Path) -> Path:
    """The data folder with problems to warm up on."""
    copied = Path(shutil.copytree(data_folder, tmp_path / "data"))
    answer_warm_up_with(copied, "answer")
    return copied


def answer_warm_up_with(data: Path, word: str) -> None:
    problems = read_problems(data / "splits" / "train.parquet")
    answered = [problem.model_copy(update={"response": f"{word} {problem.answer}"}) for problem in problems]
    write_problems(answered, data / "splits" / "warmup.parquet")


def warmed_up(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"warmup": config.warmup.model_copy(update={"epochs": 1, "learning_rate": 0.01})})


def kill(step: int) -> None:
    if step == 2:
        raise Killed


@pytest.mark.parametrize("machine", ["a", "b"])
def test_a_restart_with_other_data_takes_no_stored_warm_up_and_no_stored_checkpoint(
    settings, store, data, tmp_path, model_folder, capsys, machine: str
):
    config = warmed_up(of_run(settings, data))
    with pytest.raises(Killed):
        run(config, tmp_path / "a", model_folder, kill)
    assert store.keys("runs/weekly/warmup/")
    assert store.keys("runs/weekly/checkpoints/")
    answer_warm_up_with(data, "so it is")
    capsys.readouterr()
    folder = run(config, tmp_path / machine, model_folder, restart=True)
    said = capsys.readouterr().out
    assert "restarted, with other splits/warmup.parquet" in said
    assert "warm-up epoch 1/1" in said
    fresh = run(warmed_up(of_run(StorageConfig(), data)), tmp_path / "fresh", model_folder)
    assert contents(folder / "model") == contents(fresh / "model")
