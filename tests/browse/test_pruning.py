"""What may be deleted of runs: never what cannot be had again, or what resuming needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sgpo.browse import copies
from sgpo.browse.copies import Registry
from sgpo.browse.pruning import PruningError, plan_pruning, prune
from sgpo.browse.run_list import list_runs
from sgpo.config import TrackingConfig
from sgpo.registry import download_version, register_model_folder, set_champion
from sgpo.registry.store import RegistryError
from tests.browse.run_folders import add_run

pytestmark = pytest.mark.slow


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed_model(model: Path, target: Path, name: str) -> Path:
    """A copy that is another model: its configuration says so."""
    target.mkdir(parents=True)
    for path in model.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / "config.json").write_text(json.dumps({"model_type": "qwen2", "name": name}))
    return target


def test_checkpoints_and_copies_of_finished_runs_go_and_nothing_else(
    tmp_path: Path, model_folder: Path, tracking: TrackingConfig
) -> None:
    runs = tmp_path / "runs"
    models = {
        name: changed_model(model_folder, tmp_path / name, name) for name in ("champion", "refused", "mine", "newest")
    }
    for age, name in enumerate(("newest", "refused", "mine", "champion")):
        add_run(runs, name, age, models[name], tracking)
    unfinished = add_run(runs, "unfinished", 9, model_folder, tracking, ended=False)
    champion = register_model_folder(tracking, runs / "champion" / "model", {}, "champion")
    set_champion(tracking, champion, "test", "first")
    refused = register_model_folder(tracking, runs / "refused" / "model", {}, "refused")
    register_model_folder(tracking, runs / "newest" / "model", {}, "newest")
    before = {name: files_of(runs / name) for name in ("newest", "unfinished", "champion", "mine", "refused")}

    plan = plan_pruning(list_runs(runs), 1, Registry().find)
    assert {str(item.path.relative_to(runs)): item.size for item in plan.goes} == {
        "refused/checkpoints": 2000, "mine/checkpoints": 2000, "champion/checkpoints": 2000,
        "refused/model": sum(path.stat().st_size for path in models["refused"].iterdir()),
    }  # fmt: skip
    why = {str(item.path.relative_to(runs)): item.why for item in plan.stays}
    assert why["champion/model"] == f"version {champion}, the champion"
    assert why["mine/model"].startswith("in no registry")
    assert files_of(unfinished) == before["unfinished"]  # a plan deletes nothing
    prune(plan)
    for name in ("newest", "unfinished"):
        assert files_of(runs / name) == before[name]
    for name in ("champion", "mine"):
        left = {file for file in before[name] if not file.startswith("checkpoints/")}
        assert files_of(runs / name).keys() == {*left, "pruned.json"}
    assert not (runs / "refused" / "model").exists()
    download_version(tracking, refused, tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(models["refused"])
    assert {row.run_id: row.state for row in list_runs(runs)}["refused"] == "finished"
    (again,) = plan_pruning(list_runs(runs), 1, Registry().find, unregistered=True).goes
    assert again.path == runs / "mine" / "model"


def test_a_model_stays_where_the_registry_cannot_be_asked(tmp_path: Path, model_folder: Path) -> None:
    tracking = TrackingConfig(mlflow_uri=f"sqlite:///{tmp_path}/none.db")
    add_run(tmp_path / "runs", "a", 1, model_folder, tracking)
    plan = plan_pruning(list_runs(tmp_path / "runs"), 0, Registry().find, unregistered=True)
    assert [item.path.name for item in plan.goes] == ["checkpoints"]
    assert not (tmp_path / "none.db").exists()
    assert "not known" in plan.stays[0].why


def test_a_model_stays_where_the_registry_has_lost_the_files_of_its_version(
    tmp_path: Path, model_folder: Path, tracking: TrackingConfig
) -> None:
    run = add_run(tmp_path / "runs", "a", 1, model_folder, tracking)
    before = set(Path(tracking.artifact_root).rglob("model.safetensors"))  # other tests' models
    register_model_folder(tracking, run / "model", {}, "a")
    assert plan_pruning(list_runs(tmp_path / "runs"), 0, Registry().find).goes[-1].path == run / "model"
    (weights,) = set(Path(tracking.artifact_root).rglob("model.safetensors")) - before
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    for _ in ("cut", "gone"):
        plan = plan_pruning(list_runs(tmp_path / "runs"), 0, Registry().find, unregistered=True)
        assert [item.path.name for item in plan.goes] == ["checkpoints"]
        assert "as it was registered" in plan.stays[0].why
        shutil.rmtree(weights.parent, ignore_errors=True)


def test_a_registry_that_does_not_answer_is_asked_once(tmp_path: Path, model_folder: Path, monkeypatch) -> None:
    asked = list[str]()

    def away(tracking: TrackingConfig) -> list[copies.Copy]:
        asked.append(tracking.mlflow_uri)
        raise RegistryError("no answer")

    monkeypatch.setattr(copies, "_read_copies", away)
    for age, name in enumerate("abc"):
        add_run(tmp_path / "runs", name, age, model_folder, TrackingConfig(mlflow_uri="http://localhost:1"))
    plan = plan_pruning(list_runs(tmp_path / "runs"), 0, Registry().find)
    assert [item.path.name for item in plan.stays] == ["model"] * 3
    assert len(asked) == 1


def test_links_are_not_followed_and_a_link_to_a_run_is_that_run(tmp_path: Path, model_folder: Path) -> None:
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    newest = add_run(runs, "b", 1, model_folder)
    older = add_run(runs, "a", 2, model_folder)
    (runs / "Latest").symlink_to(newest)
    (older / "checkpoints").rename(elsewhere)
    (older / "checkpoints").symlink_to(elsewhere)
    before = files_of(newest), files_of(elsewhere)
    assert [row.folder for row in list_runs(runs)] == [newest, older]
    plan = plan_pruning(list_runs(runs), 1, lambda run: None, unregistered=True)
    assert [item.path for item in plan.goes] == [older / "model"]
    assert "a link to" in plan.stays[-1].why
    prune(plan)
    assert (files_of(newest), files_of(elsewhere)) == before


def test_what_a_pruning_that_was_cut_off_left_goes_with_the_next_and_its_record_stays(
    tmp_path: Path, model_folder: Path, monkeypatch
) -> None:
    run = add_run(tmp_path / "runs", "a", 1, model_folder)

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    plan = plan_pruning(list_runs(tmp_path / "runs"), 0, lambda run: None)
    with monkeypatch.context() as patch:
        patch.setattr("sgpo.browse.pruning.shutil.rmtree", refused)
        with pytest.raises(PruningError, match="cannot be deleted"):
            prune(plan)
    assert list_runs(tmp_path / "runs")[0].finished
    plan = plan_pruning(list_runs(tmp_path / "runs"), 0, lambda run: None, unregistered=True)
    assert [(item.path.name, item.size > 0) for item in plan.goes] == [(".checkpoints.pruned", True), ("model", True)]
    prune(plan)
    prune(plan)  # what is gone already is no error
    assert {path.name for path in run.iterdir()} == {"config.yaml", "made_of.json", "metrics.jsonl", "pruned.json"}
    deleted = [Path(item["path"]).name for item in json.loads((run / "pruned.json").read_text())["deleted"]]
    assert deleted[:3] == ["checkpoints", ".checkpoints.pruned", "model"]


def test_the_command_asks_or_is_told_and_a_dry_run_deletes_nothing(sgpo, tmp_path: Path, model_folder: Path) -> None:
    run = add_run(tmp_path / "runs", "a", 1, model_folder, TrackingConfig(mlflow_uri=f"sqlite:///{tmp_path}/none.db"))
    told = sgpo("runs", "prune", "--keep", "0", "--dry-run", cwd=tmp_path).stdout
    assert "2.0 kB of 1 run" in told
    assert "expected --yes" in sgpo("runs", "prune", "--keep", "0", cwd=tmp_path).refusal()
    assert "--dry-run or --yes" in sgpo("runs", "prune", "--keep", "0", "--json", cwd=tmp_path).refusal()
    assert (run / "checkpoints" / "step-000004").is_dir()
    told = json.loads(sgpo("runs", "--folder", "runs", "prune", "--keep", "0", "--yes", "--json", cwd=tmp_path).stdout)
    assert (told["deleted"], told["size"], len(told["goes"])) == (True, 2000, 1)
    assert not (run / "checkpoints").exists()
    assert (run / "model" / "config.json").is_file()
