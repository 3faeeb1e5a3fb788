"""Nothing is trained twice on the same data from the same champion, unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import repeats, runs
from flows.repeats import same_retraining
from flows.runs import Start
from sgpo.config import RunConfig, dump_config, load_config
from sgpo.evaluation import Outcome, compare
from sgpo.files import write_json
from sgpo.pipeline.report import Summary
from sgpo.registry import ChampionChange

VERSIONS = {"data/strategies.parquet": "a", "data/splits": "b.dir", "data/probe.parquet": "c"}
START = Start(champion="3", settings={"seed": 0}, params="world: {seed: 0}")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (runs, repeats):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    return tmp_path


def ended(repository: Path, run_id: str, config: RunConfig, start: Start = START, **changes) -> None:
    """A retraining as it lies there when it has ended."""
    folder = repository / "runs" / run_id
    outcomes = [Outcome(f"{number}", "tier 1", (1.0, 0.0)) for number in range(3)]
    decision = ChampionChange(
        when="2026-11-23T03:00:00+00:00", action="refuse", version="4", before="3", after="3", who="ann", why="",
    )  # fmt: skip
    summary = Summary(
        run_id=run_id, registered_model="m", challenger_version="4", champion_before="3", champion_after="3",
        decision=decision, comparison=compare(outcomes, outcomes, 0.95, 100, 0), training={}, data_versions=VERSIONS,
        git_commit=None, seconds={},
    ).model_copy(update=changes)  # fmt: skip
    write_json(folder / "start.json", start.model_dump())
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    (folder / "config.yaml").write_text(dump_config(config))


def test_the_same_again_is_found(repository: Path) -> None:
    config = load_config(None)
    ended(repository, "weekly-47", config)
    found = same_retraining(config, START, {**VERSIONS, "data/probe.parquet": "made again"})
    assert found is not None
    assert found.run_id == "weekly-47"
    elsewhere = load_config(None, ["storage.bucket=models", "tracking.mlflow_uri=http://127.0.0.1:1"])
    assert same_retraining(elsewhere, START, VERSIONS) == found


@pytest.mark.parametrize("name", ["data/strategies.parquet", "data/splits"])
def test_other_data_are_no_repetition(repository: Path, name: str) -> None:
    ended(repository, "weekly-47", load_config(None))
    assert same_retraining(load_config(None), START, {**VERSIONS, name: "new"}) is None


@pytest.mark.parametrize("change", [{"champion": "4"}, {"params": "world: {seed: 1}"}])
def test_another_beginning_is_no_repetition(repository: Path, change: dict[str, str]) -> None:
    ended(repository, "weekly-47", load_config(None))
    assert same_retraining(load_config(None), START.model_copy(update=change), VERSIONS) is None


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "training.steps=61", "evaluation.k=2", "gate.margin=0.01", "chat.system_prompt=Be brief.",
        "domains={riddle: {threshold: 0.5}}", "sharding.precision=bfloat16", "tracking.registered_model=another",
    ],
)  # fmt: skip
def test_other_settings_are_no_repetition(repository: Path, override: str) -> None:
    ended(repository, "weekly-47", load_config(None))
    assert same_retraining(load_config(None, [override]), START, VERSIONS) is None


def test_other_code_is_no_repetition(repository: Path) -> None:
    ended(repository, "weekly-47", load_config(None), git_commit="0" * 40)
    assert same_retraining(load_config(None), START, VERSIONS) is None


def test_a_run_that_has_not_ended_or_cannot_be_read_is_passed_over(repository: Path) -> None:
    config = load_config(None)
    ended(repository, "older", config)
    ended(repository, "spoiled", config)
    (repository / "runs" / "spoiled" / "summary.json").write_text("{}")
    ended(repository, "not-ended", config)
    (repository / "runs" / "not-ended" / "summary.json").unlink()
    found = same_retraining(config, START, VERSIONS)
    assert found is not None
    assert found.run_id == "older"
