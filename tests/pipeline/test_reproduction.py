"""From a model version back to what it was made of, and to the same bytes."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sgpo.cli.registry import registry_app
from sgpo.config import TrackingConfig, load_config
from sgpo.files import file_sha256
from sgpo.pipeline.reproduction import ReproductionError, prepare, what_is_missing
from sgpo.registry import download_version, register_model_folder, set_champion
from sgpo.registry.ancestry import ancestry, describe_ancestry
from sgpo.registry.lineage import Lineage
from sgpo.registry.provenance import attachments_of_run, dvc_md5, lineage_of_run, note_provenance, read_provenance

pytestmark = [pytest.mark.slow, pytest.mark.long]

MAKE_DATA = """
import random, sys
from pathlib import Path
from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.testbed.stories import read
from sgpo.testbed.strategies import describe
from sgpo.config.testbed import WorldConfig
from sgpo.testbed.world import build_split
from sgpo.strategies.schema import CRITERIA, Strategy

problems = build_split(WorldConfig(seed=int(sys.argv[1]), train=6, held_out=4, tuning=4), "train")
strategies = []
for problem in problems:
    problem_type, approach, steps = describe(read(problem.question)[1], random.Random(problem.id))
    strategies.append(Strategy(
        problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
        scores=dict.fromkeys(CRITERIA, 1.0), teacher="test", prompt_version="test", candidates_seen=1,
    ))
write_problems(problems, Path("data/splits/train.parquet"))
write_table(strategies, Path("data/strategies.parquet"))
"""
STAGES = """
stages:
  splits:
    cmd: python make_data.py {seed}
    outs: [data/splits, data/strategies.parquet]
"""
SETTINGS = (
    "training.steps=2", "training.problems_per_step=3",
    "training.algorithm.autonomous_rollouts=2", "training.algorithm.guided_rollouts=2",
    "training.sampling.max_new_tokens=6", "training.learning_rate=0.01", "training.algorithm.entropy_coefficient=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, make_checkout: Callable[[Path, dict[str, Any]], Any]) -> Any:
    """A checkout of the code with data of the test's own in DVC; dvc.lock is not committed."""
    checkout = make_checkout(tmp_path_factory.mktemp("origin") / "code", {})
    (checkout.folder / "make_data.py").write_text(MAKE_DATA, encoding="utf-8")
    (checkout.folder / "dvc.yaml").write_text(STAGES.format(seed=0), encoding="utf-8")
    checkout.commit("first")
    checkout.dvc("repro", "--quiet")
    checkout.dvc("push", "--quiet")
    return checkout


@pytest.fixture(scope="module")
def parent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of two small layers."""
    import torch

    from sgpo.config.testbed import BaseModelConfig
    from sgpo.testbed.base_model import new_model, testbed_tokenizer

    torch.manual_seed(0)
    tokenizer, folder = testbed_tokenizer(), tmp_path_factory.mktemp("parent")
    new_model(BaseModelConfig(hidden_size=32, layers=2), tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def registered(origin: Any, parent_folder: Path, mlflow_database: Path) -> TrackingConfig:
    """Version 1 is the parent, version 2 was trained from it in the checkout; then code and data have moved on."""
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}", artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model="reproduced",
    )  # fmt: skip
    parent = register_model_folder(tracking, parent_folder, {"sgpo.base_model": "tiny"}, "base-tiny")
    set_champion(tracking, parent, "ann", "the first")
    download_version(tracking, "champion", origin.folder / "data" / "champion")
    run = origin.folder / "runs" / "one"
    origin.sgpo("train", "--model", "data/champion", "--run", "runs/one", *SETTINGS)
    lineage = lineage_of_run(run, parent, {"gain": 0.1}, {})
    version = register_model_folder(
        tracking, run / "model", lineage.tags(), "one", attachments=attachments_of_run(run, {"comparison.json": "{}"})
    )
    assert (parent, version) == ("1", "2")
    code = origin.folder / "sgpo" / "training" / "optimisation.py"
    code.write_text(code.read_text(encoding="utf-8") + "\nraise RuntimeError('the working tree is not used')\n")
    (origin.folder / "dvc.yaml").write_text(STAGES.format(seed=1), encoding="utf-8")
    origin.dvc("repro", "--quiet")
    shutil.rmtree(origin.folder / ".dvc" / "cache")  # the old data are in the remote only
    return tracking


def test_a_version_is_trained_again_to_the_same_bytes_although_code_and_data_have_moved_on(
    registered: TrackingConfig, origin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = origin.git("status", "--porcelain")
    monkeypatch.chdir(origin.folder)
    settings = [f"tracking.{name}={value}" for name, value in registered.model_dump().items()]
    command = ["reproduce", "2", "--output", str(tmp_path / "again"), *settings]
    foretold = json.loads(CliRunner().invoke(registry_app, [*command, "--dry-run", "--json"]).stdout)
    parent = [path for path in (origin.folder / "data" / "champion").iterdir() if path.is_file()]
    assert (foretold["files"], foretold["bytes"]) == (len(parent), sum(path.stat().st_size for path in parent))
    assert f"a clone at commit {origin.git('rev-parse', 'first').strip()}" in foretold["says"][0]
    assert "trained again, 2 steps" in foretold["says"][-1]
    assert not list(tmp_path.iterdir())
    capfd.readouterr()
    done = CliRunner().invoke(registry_app, [*command, "--json"])
    assert done.exception is None, done.output
    by_training = capfd.readouterr()
    assert (by_training.out, "step    2/2" in by_training.err) == ("", True)
    told = json.loads(done.stdout)
    assert told.pop("command") in done.stderr
    files = ancestry(registered, "2")[0].files
    made = tmp_path / "again" / "runs" / "reproduced" / "model"
    assert told == {"version": "2", "model": str(made), "files": list(files), "although": []}
    assert {path.name: file_sha256(path) for path in made.iterdir()} == files
    assert files["model.safetensors"] != ancestry(registered, "1")[0].files["model.safetensors"]
    # A person gets lines. Training once is enough: here its interpreter brings what was trained above.
    brings = tmp_path / "python"
    brings.write_text(f"#!/bin/sh\necho brought\ncp -r '{made.parents[1]}' runs\n", encoding="utf-8")
    brings.chmod(0o755)
    monkeypatch.setenv("SGPO_TRAINING_PYTHON", str(brings))
    command[3] = str(tmp_path / "for_a_person")
    done = CliRunner().invoke(registry_app, command)
    assert done.exception is None, done.output
    assert capfd.readouterr().out == "brought\n"
    model = tmp_path / "for_a_person" / "runs" / "reproduced" / "model"
    assert done.stdout.splitlines()[1:] == [f"{model}: version 2, byte for byte ({len(files)} files)"]
    assert origin.git("status", "--porcelain") == before


def test_what_was_made_in_another_way_is_not_the_same_bytes(
    registered: TrackingConfig, origin: Any, tmp_path: Path
) -> None:
    """The comparison can fail: another seed makes another model."""
    again = prepare(registered, "2", tmp_path / "again", origin.folder)
    subprocess.run(
        ["sh", "-c", f"{again.shell_line()} seed=1"], check=True, capture_output=True, timeout=200
    )  # the command as a person would give it
    assert again.differing() == ["model.safetensors"]
    with pytest.raises(ReproductionError, match="is there already"):
        prepare(registered, "2", tmp_path / "again", origin.folder)


def test_lineage_names_data_code_parent_settings_and_the_command(registered: TrackingConfig, origin: Any) -> None:
    settings = [f"tracking.{name}={value}" for name, value in registered.model_dump().items()]
    shown = CliRunner().invoke(registry_app, ["lineage", "2", *settings]).output
    commit = origin.git("rev-parse", "first").strip()
    record, parent = ancestry(registered, "2")
    assert (record.version, parent.version, parent.aliases, parent.lineage.parent_version) == (
        "2",
        "1",
        ("champion",),
        None,
    )
    assert record.lineage.data_md5s.keys() == {"data/splits", "data/strategies.parquet"}
    assert record.lineage.strategies_digest == record.lineage.data_md5s["data/strategies.parquet"]
    assert record.lineage.git_dirty is False
    for fact in (
        f"commit {commit}", *record.lineage.data_md5s.values(), "reproduced version 1 (champion)", "gain 0.1",
        record.lineage.config_digest, f"sha256 {record.files['model.safetensors']}", "threads 1",
        "sgpo registry reproduce 2 --output runs/reproduced-2",
    ):  # fmt: skip
        assert str(fact) in shown
    read = json.loads(CliRunner().invoke(registry_app, ["lineage", "2", "--json", *settings]).output)
    assert [version["version"] for version in read["versions"]] == ["2", "1"]
    command = ["sgpo", "registry", "reproduce", "2", "--output", "runs/reproduced-2", *settings]
    assert shlex.split(read["reproduce"]) == command
    base = CliRunner().invoke(registry_app, ["lineage", "champion", *settings]).output
    assert "It cannot be made again from the registry: it was not trained from another version" in base


def test_a_version_without_its_records_says_which_are_missing(
    tracking: TrackingConfig, model_folder: Path, tmp_path: Path
) -> None:
    register_model_folder(tracking, model_folder, {}, "base")
    register_model_folder(tracking, model_folder, Lineage(parent_version="1", git_commit="c").tags(), "run")
    assert what_is_missing(ancestry(tracking, "2")) == (
        "no data versions, no config.yaml, no dvc.lock recorded (expected a version that `retrain` has registered)"
    )
    with pytest.raises(ReproductionError, match=r"version 2: no data versions, no config\.yaml"):
        prepare(tracking, "2", tmp_path / "again", tmp_path)
    assert not (tmp_path / "again").exists()


def test_a_parent_that_was_deleted_is_named(tracking: TrackingConfig, model_folder: Path) -> None:
    from sgpo.tracking.client import connect

    register_model_folder(tracking, model_folder, {}, "base")
    register_model_folder(tracking, model_folder, Lineage(parent_version="1").tags(), "run")
    connect(tracking).delete_model_version(tracking.registered_model, "1")
    records = ancestry(tracking, "2")
    assert [record.version for record in records] == ["2"]
    assert "version 1, which is no longer there" in describe_ancestry(records)
    assert what_is_missing(records) == "its parent, version 1, is no longer in the registry"


def test_the_md5s_that_a_run_notes_are_those_of_dvc(origin: Any, registered: TrackingConfig) -> None:
    import yaml

    (origin.folder / "data" / "splits" / "nested").mkdir()
    (origin.folder / "data" / "splits" / "nested" / "ä.txt").write_text("ä")
    origin.dvc("commit", "--quiet", "--force")
    lock = yaml.safe_load((origin.folder / "dvc.lock").read_text(encoding="utf-8"))
    locked = {out["path"]: out["md5"] for out in lock["stages"]["splits"]["outs"]}
    assert {path: dvc_md5(origin.folder / path) for path in locked} == locked


def test_a_run_notes_each_change_of_conditions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from sgpo.config import dump_config

    data, run = tmp_path / "data", tmp_path / "runs" / "one"
    (data / "splits").mkdir(parents=True)
    (data / "splits" / "train.parquet").write_bytes(b"1")
    (tmp_path / "dvc.lock").write_text("stages: {probe: {outs: [{path: data/probe.parquet, md5: abc}]}}\n")
    (data / "problems.dvc").write_text("outs: [{path: problems, md5: def.dir}]\n")
    config = load_config(None, [f"data={data}"])
    note_provenance(config, run)
    (data / "problems.dvc").write_text("outs: [{path: problems, md5: of today}]\n")
    note_provenance(config, run)
    (first,) = read_provenance(run)
    assert first.data_md5s == {"data/splits": dvc_md5(data / "splits")}
    assert first.environment["threads"] == str(torch.get_num_threads())
    (data / "splits" / "train.parquet").write_bytes(b"2")
    (tmp_path / "dvc.lock").unlink()
    monkeypatch.setenv("WORLD_SIZE", "4")
    note_provenance(config, run)
    assert len(read_provenance(run)) == 2
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    lineage = lineage_of_run(run, "1", {}, {"data/probe.parquet": "of today"})
    assert lineage.data_md5s == {**first.data_md5s, "data/probe.parquet": "abc", "data/problems": "def.dir"}
    assert "processes was 1, then 4" in lineage.environment["resumed"]
    assert "data/splits was" in lineage.environment["resumed"]
    assert attachments_of_run(run).keys() == {"config.yaml", "training.json", "dvc.lock"}
