"""A run goes on only with what it began with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sgpo.config import RunConfig, load_config
from sgpo.problems import read_problems
from sgpo.problems.readers import write_problems
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.recovery.origin import check_origin, digest_of_what_is_computed


@pytest.fixture
def place(tmp_path: Path, model_folder: Path, data_folder: Path) -> tuple[RunConfig, Path, Path]:
    """Settings, model and run folder of a run that has begun."""
    shutil.copytree(data_folder, tmp_path / "data")
    shutil.copytree(model_folder, tmp_path / "model")
    config = load_config(None, [f"data={tmp_path / 'data'}", "training.steps=9"])
    run = tmp_path / "run"
    check_origin(config, tmp_path / "model", run)
    (run / "checkpoints" / "step-000003").mkdir(parents=True)
    return config, tmp_path / "model", run


def changed_settings(config: RunConfig, model: Path) -> RunConfig:
    return load_config(None, [f"data={config.data}", "training.steps=10"])


def changed_data(config: RunConfig, model: Path) -> RunConfig:
    shutil.copy(config.data / "splits" / "train.parquet", config.data / "strategies.parquet")
    return config


def changed_model(config: RunConfig, model: Path) -> RunConfig:
    text = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**text, "rms_norm_eps": 1e-5}))
    return config


def changed_ends(config: RunConfig, model: Path) -> RunConfig:
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2, 3]}))
    return config


CHANGES = {
    "settings": changed_settings, "strategies.parquet": changed_data, "model": changed_model,
    "generation_config.json": changed_ends,
}  # fmt: skip


@pytest.mark.parametrize("different", CHANGES)
def test_what_is_different_is_named_and_a_restart_begins_anew(place, different: str, capsys) -> None:
    config, model, run = place
    config = CHANGES[different](config, model)
    with pytest.raises(CheckpointError, match=f"this run began with other {different} [(]expected"):
        check_origin(config, model, run)
    assert (run / "checkpoints" / "step-000003").is_dir()
    check_origin(config, model, run, restart=True)
    assert f"restarted, with other {different}" in capsys.readouterr().out
    assert not (run / "checkpoints").exists()
    check_origin(config, model, run)


def test_where_results_go_and_how_they_are_measured_may_change(place) -> None:
    config, model, run = place
    settings = [f"data={config.data}", "training.steps=9", "evaluation.k=8", "gate.margin=0.1", "processes=4"]
    check_origin(load_config(None, settings), model, run)
    assert (run / "checkpoints").is_dir()


def test_validation_belongs_to_a_run_only_where_it_is_on(place) -> None:
    config, model, run = place
    settings = [f"data={config.data}", "training.steps=9"]
    check_origin(load_config(None, [*settings, "training.validation.k=8", "evaluation.sampling.top_p=0.5"]), model, run)
    on = [*settings, "training.validation.every=3"]
    with pytest.raises(CheckpointError, match=r"other problems/tuning\.parquet"):
        check_origin(load_config(None, on), model, run)
    digests = {
        digest_of_what_is_computed(load_config(None, overrides))
        for overrides in (settings, on, [*on, "training.validation.k=8"], [*on, "evaluation.sampling.top_p=0.5"])
    }
    assert len(digests) == 4


def test_a_restarted_run_forgets_its_validations(place) -> None:
    config, model, run = place
    (run / "validation.json").write_text("{}")
    check_origin(load_config(None, [f"data={config.data}", "training.steps=10"]), model, run, restart=True)
    assert not (run / "validation.json").exists()


VERIFIER = "def judge(response, problem):\n    ...\n"


@pytest.mark.slow
def test_a_verifier_of_ones_own_belongs_to_a_run_by_its_code(place, tmp_path: Path, monkeypatch, capsys) -> None:
    config, model, run = place
    package = tmp_path / "packages"
    package.mkdir()
    (package / "own_judges.py").write_text(VERIFIER)
    monkeypatch.syspath_prepend(str(package))
    train = config.data / "splits" / "train.parquet"
    write_problems([one.model_copy(update={"domain": "planets"}) for one in read_problems(train)], train)
    own = "domains={planets: {verifier: 'own_judges:judge'}}"
    config = load_config(None, [f"data={config.data}", "training.steps=9", own])
    check_origin(config, model, run, restart=True)
    check_origin(config, model, run)
    (package / "own_judges.py").write_text(VERIFIER.replace("...", "return None"))
    with pytest.raises(CheckpointError, match=r"this run began with other verifier of domain 'planets' [(]expected"):
        check_origin(config, model, run)
    made_of = json.loads((run / "made_of.json").read_text())
    before_there_was_the_key = {name: value for name, value in made_of.items() if "verifier" not in name}
    (run / "made_of.json").write_text(json.dumps(before_there_was_the_key))
    check_origin(config, model, run)
    assert json.loads((run / "made_of.json").read_text())["verifier of domain 'planets'"]


def test_mathematics_alone_notes_no_verifier(place) -> None:
    _, _, run = place
    assert not [name for name in json.loads((run / "made_of.json").read_text()) if "verifier" in name]
