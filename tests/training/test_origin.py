"""A run goes on only with what it began with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sgpo.config import RunConfig, load_config
from sgpo.problems import read_problems
from sgpo.problems.readers import write_problems
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.recovery.origin import check_origin, digest_of_what_is_computed, note_origin


def begin(config: RunConfig, model: Path, run: Path, restart: bool = False) -> None:
    """As a run begins or resumes: first the look, then the note."""
    note_origin(check_origin(config, model, run, restart), run)


@pytest.fixture
def place(tmp_path: Path, model_folder: Path, data_folder: Path) -> tuple[RunConfig, Path, Path]:
    """Settings, model and run folder of a run that has begun."""
    shutil.copytree(data_folder, tmp_path / "data")
    shutil.copytree(model_folder, tmp_path / "model")
    config = load_config(None, [f"data={tmp_path / 'data'}", "training.steps=9"])
    run = tmp_path / "run"
    begin(config, tmp_path / "model", run)
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
        begin(config, model, run)
    assert (run / "checkpoints" / "step-000003").is_dir()
    begin(config, model, run, restart=True)
    assert f"restarted, with other {different}" in capsys.readouterr().out
    assert not (run / "checkpoints").exists()
    begin(config, model, run)


def test_where_results_go_and_how_they_are_measured_may_change(place) -> None:
    config, model, run = place
    settings = [f"data={config.data}", "training.steps=9", "evaluation.k=8", "gate.margin=0.1", "processes=4"]
    begin(load_config(None, settings), model, run)
    assert (run / "checkpoints").is_dir()


def test_validation_belongs_to_a_run_only_where_it_is_on(place) -> None:
    config, model, run = place
    settings = [f"data={config.data}", "training.steps=9"]
    begin(load_config(None, [*settings, "training.validation.k=8", "evaluation.sampling.top_p=0.5"]), model, run)
    on = [*settings, "training.validation.every=3"]
    with pytest.raises(CheckpointError, match=r"other problems/tuning\.parquet"):
        begin(load_config(None, on), model, run)
    digests = {
        digest_of_what_is_computed(load_config(None, overrides))
        for overrides in (settings, on, [*on, "training.validation.k=8"], [*on, "evaluation.sampling.top_p=0.5"])
    }
    assert len(digests) == 4


def test_a_restarted_run_forgets_its_validations(place) -> None:
    config, model, run = place
    (run / "validation.json").write_text("{}")
    begin(load_config(None, [f"data={config.data}", "training.steps=10"]), model, run, restart=True)
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
    begin(config, model, run, restart=True)
    begin(config, model, run)
    (package / "own_judges.py").write_text(VERIFIER.replace("...", "return None"))
    with pytest.raises(CheckpointError, match=r"this run began with other verifier of domain 'planets' [(]expected"):
        begin(config, model, run)
    made_of = json.loads((run / "made_of.json").read_text())
    before_there_was_the_key = {name: value for name, value in made_of.items() if "verifier" not in name}
    (run / "made_of.json").write_text(json.dumps(before_there_was_the_key))
    begin(config, model, run)
    assert json.loads((run / "made_of.json").read_text())["verifier of domain 'planets'"]


def test_mathematics_alone_notes_no_verifier(place) -> None:
    _, _, run = place
    assert not [name for name in json.loads((run / "made_of.json").read_text()) if "verifier" in name]


def spoil_weights(place: Path) -> None:
    tensors = load_file(place / "model" / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, place / "model" / "model.safetensors", metadata={"format": "pt"})


def set_windows(place: Path) -> None:
    file = place / "model" / "config.json"
    layers = {"layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": True, "sliding_window": 64}
    file.write_text(json.dumps(json.loads(file.read_text()) | layers))


def nothing(place: Path) -> None: ...


REFUSED = {
    "no data": (lambda place: shutil.rmtree(place / "data"), "", "train.parquet: no such file"),
    "no model": (lambda place: shutil.rmtree(place / "model"), "", "model: no such model folder"),
    "an unknown problem": (nothing, "training.exclude_problems=[nosuch]", "'nosuch' is no training problem"),
    "no room": (nothing, "training.sampling.max_new_tokens=100000", "12 of 12 problems, with a response"),
    "no problems to validate on": (
        lambda place: (place / "data" / "problems" / "tuning.parquet").unlink(),
        "training.validation.every=1", "tuning.parquet: no such file",
    ),
    "no problems to warm up on": (nothing, "warmup.epochs=1", "warmup.parquet: no such file"),
    "no responses to warm up on": (
        lambda place: shutil.copy(place / "data/splits/train.parquet", place / "data/splits/warmup.parquet"),
        "warmup.epochs=1", "has no response",
    ),
    "weights that are spoilt": (spoil_weights, "", "has values that are not finite"),
    "layers with a window": (set_windows, "", "has layers of the kind sliding_attention"),
    "a window and a warm-up": (
        lambda place: (set_windows(place), write_warmup(place)), "warmup.epochs=1", "of the kind sliding_attention",
    ),
}  # fmt: skip


def write_warmup(place: Path) -> None:
    problems = read_problems(place / "data" / "splits" / "train.parquet")
    told = [problem.model_copy(update={"response": "\\boxed{1}"}) for problem in problems]
    write_problems(told, place / "data" / "splits" / "warmup.parquet")


@pytest.mark.parametrize("case", REFUSED)
def test_training_that_is_refused_leaves_nothing_behind(case, tmp_path, model_folder, data_folder, sgpo) -> None:
    spoil, override, message = REFUSED[case]
    shutil.copytree(data_folder, tmp_path / "data")
    shutil.copytree(model_folder, tmp_path / "model")
    spoil(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    options = ["--model", f"{tmp_path}/model", "--run", "runs/x", *([override] if override else [])]
    done = sgpo("train", *options, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_may_not_be_resumed_keeps_its_record(place, sgpo) -> None:
    _, _, run = place
    (run / "tracking.jsonl").write_text("", encoding="utf-8")
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    line = sgpo("train", "--model", "model", "--run", "run", "training.steps=10", cwd=run.parent).refusal()
    assert "this run began with other settings" in line
    assert {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()} == before
