"""A run goes on as it began, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from registered import register

from flows import runs
from flows.runs import difference, read_start, start_run, started
from sgpo.config import ConfigError, RunConfig, dump_config, load_config
from sgpo.registry import RegistryError, set_champion


@pytest.fixture
def settings(
    tmp_path: Path, mlflow_database: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> RunConfig:
    """Settings with a registered model of the test's own, in a repository of the test's own."""
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    (tmp_path / "params.yaml").write_text("world: {seed: 0}\n")
    return load_config(None, [
        f"tracking.mlflow_uri=sqlite:///{mlflow_database}", f"tracking.registered_model='runs, {request.node.name}'",
        f"tracking.artifact_root={mlflow_database.parent / 'artifacts'}",
    ])  # fmt: skip


def test_a_run_keeps_the_champion_it_began_from(settings: RunConfig, tmp_path: Path) -> None:
    first, second = (
        register(settings.tracking, tmp_path / name, value) for name, value in (("one", 1.0), ("two", 2.0))
    )
    set_champion(settings.tracking, first, "test", "It is the first.")
    assert start_run.fn(settings, "a").champion == first
    set_champion(settings.tracking, second, "test", "The run was promoted, then killed.")
    assert start_run.fn(settings, "a").champion == first
    assert start_run.fn(settings, "b").champion == second


def test_a_run_with_no_champion_to_train_from_says_how_to_get_one(settings: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no champion to train from .*sgpo registry champion"):
        start_run.fn(settings, "a")
    assert not (tmp_path / "runs").exists()


def test_a_run_does_not_go_on_with_other_training_settings(settings: RunConfig, tmp_path: Path) -> None:
    set_champion(settings.tracking, register(settings.tracking, tmp_path / "one", 1.0), "test", "It is the first.")
    start = start_run.fn(settings, "a")
    changed = settings.model_copy(update={"training": settings.training.model_copy(update={"steps": 61})})
    with pytest.raises(ConfigError, match=r"runs/a: .*training\.steps was 60, now 61.*another run id"):
        start_run.fn(changed, "a")
    gated = settings.model_copy(update={"gate": settings.gate.model_copy(update={"margin": 0.5})})
    assert start_run.fn(gated, "a") == start


def test_a_run_does_not_go_on_with_other_data(settings: RunConfig, tmp_path: Path) -> None:
    set_champion(settings.tracking, register(settings.tracking, tmp_path / "one", 1.0), "test", "It is the first.")
    start = start_run.fn(settings, "a")
    (tmp_path / "params.yaml").write_text("world: {seed: 1}\n")
    assert difference(settings, start) == "params.yaml was another"


def test_a_run_that_did_not_begin_is_named(settings: RunConfig) -> None:
    assert read_start(settings, "nowhere") is None
    with pytest.raises(ConfigError, match=r"runs/nowhere: no such run"):
        started(settings, "nowhere")


def test_a_damaged_start_is_one_line_with_its_file(settings: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "start.json").write_text('{"champion": 1}')
    with pytest.raises(ConfigError, match=r"start\.json: not the start of a run") as error:
        read_start(settings, "a")
    assert "\n" not in str(error.value)


def test_a_run_does_not_go_on_as_one_of_another_registered_model(settings: RunConfig, tmp_path: Path) -> None:
    set_champion(settings.tracking, register(settings.tracking, tmp_path / "one", 1.0), "test", "It is the first.")
    start = start_run.fn(settings, "a")
    (tmp_path / "runs" / "a" / "config.yaml").write_text(dump_config(settings), encoding="utf-8")
    assert start_run.fn(settings, "a") == started(settings, "a") == start
    other = settings.tracking.model_copy(update={"registered_model": "another"})
    for go_on in (start_run.fn, started):
        with pytest.raises(ConfigError, match=r"runs/a: tracking\.registered_model was 'runs, .*, now 'another'"):
            go_on(settings.model_copy(update={"tracking": other}), "a")
