"""A retraining checks its champion first: what is wrong ends it with the cures, before anything is spent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_testbed import data_folder, model_folder, tokenizer

from flows import champion, check, process
from sgpo.config import TrackingConfig, load_config
from sgpo.config.testbed import WorldConfig
from sgpo.problems import read_problems, write_problems
from sgpo.registry.models import register_base_model
from sgpo.testbed.world import build_split

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("prefect_api")]
__all__ = ["data_folder", "model_folder", "tokenizer"]


def test_what_is_wrong_ends_it_with_the_cure_and_is_kept(
    tmp_path: Path, mlflow_database: Path, model_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check, champion, process):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    shutil.copytree(data_folder, tmp_path / "data")
    write_problems(read_problems(data_folder / "splits" / "train.parquet"), tmp_path / "data/problems/train.parquet")
    write_problems(build_split(WorldConfig(held_out=8), "held_out"), tmp_path / "data/problems/held_out.parquet")
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}", artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model="checked first",
    )  # fmt: skip
    version = register_base_model(tracking, model_folder, "tiny")
    names = ("mlflow_uri", "artifact_root", "registered_model")
    overrides = [
        *(f"tracking.{name}='{getattr(tracking, name)}'" for name in names),
        "training.sampling.max_new_tokens=8",
    ]
    recipe = str(Path(__file__).parents[2] / "configs" / "testbed.yaml")

    config = load_config(recipe, overrides)
    with pytest.raises(
        check.CheckFailedError, match=r"samples, can learn: no answer of 32 can be read.*max_new_tokens"
    ):
        check.check_first(config, recipe, overrides, "first", version)
    kept = json.loads((tmp_path / "runs" / "first" / "check.json").read_text())
    assert [finding["what"] for finding in kept["findings"] if finding["verdict"] == "wrong"] == ["can learn"]
    assert float(check.estimate_tags(config, "first")["sgpo.estimate.seconds"]) > 0
    assert check.estimate_beside(config, "first", {"check": 10.0, "training": 50.0}).endswith(
        ", took 60 s since it was last started"
    )
    assert check.estimate_beside(config, "second", {"check": 10.0}) == ""

    def fails(*_: object) -> None:
        raise process.CommandFailed(["sgpo"], 1, ["no such setting"])

    monkeypatch.setattr(check, "check_process", fails)
    with pytest.raises(process.CommandFailed, match="no such setting"):  # and not what the check before it has found
        check.check_first(config, recipe, overrides, "first", version)

    without = [*overrides, "checks.before_training=false"]
    check.check_first(load_config(recipe, without), recipe, without, "second", version)
    assert not (tmp_path / "runs" / "second").exists()
