"""`sgpo registry …` as a model owner uses it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sgpo.cli.registry import registry_app
from sgpo.config import TrackingConfig
from sgpo.registry import register_model_folder
from sgpo.registry.forecasts import forecast_registration
from sgpo.registry.models import register_base_model
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tracking: TrackingConfig, model_folder: Path) -> list[str]:
    """Overrides that name the test's own registry, which has two versions."""
    for run in ("one", "two"):
        register_model_folder(tracking, model_folder, {}, run)
    return [f"tracking.{name}={value}" for name, value in tracking.model_dump().items()]


def printed(*arguments: str) -> list[str]:
    done = CliRunner().invoke(registry_app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()


def test_the_owner_chooses_rolls_back_and_reads_who_did_what_and_why(
    tracking: TrackingConfig, settings: list[str], tmp_path: Path
) -> None:
    assert printed("champion", "1", "It is the first.", *settings) == [
        "set_champion version 1: champion none -> 1 (It is the first.)"
    ]
    printed("champion", "2", "Agreed in the review.", *settings)
    assert printed("roll-back", "Complaints.", *settings) == ["roll_back version 1: champion 2 -> 1 (Complaints.)"]
    shown = printed("show", *settings)
    whole = json.loads("\n".join(printed("show", "--json", *settings)))
    assert [change["action"] for change in whole["history"]] == ["set_champion", "set_champion", "roll_back"]
    assert (whole["aliases"]["champion"], whole["gaps"]) == ("1", [])
    name = tracking.registered_model
    assert shown[:2] == [f"{name}@champion is version 1", f"{name}@previous is version 2"]
    user = getpass.getuser()
    assert [line.split("  ", 1)[1] for line in shown[2:]] == [
        f"{user}: set_champion version 1: champion none -> 1 (It is the first.)",
        f"{user}: set_champion version 2: champion 1 -> 2 (Agreed in the review.)",
        f"{user}: roll_back version 1: champion 2 -> 1 (Complaints.)",
    ]
    target = tmp_path / "exported"
    assert printed("download", "champion", str(target), *settings) == [f"version 1: {target}"]
    assert (target / "model.safetensors").is_file()


def test_a_download_replaces_a_model_and_no_other_folder(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, place = tmp_path / "models", tmp_path / "here"
    (models / "mine").mkdir(parents=True)
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    monkeypatch.chdir(place)
    for target in (models, Path(), place / "notes.txt"):
        for options in ((), ("--dry-run",)):
            done = CliRunner().invoke(registry_app, ["download", "1", str(target), *options, *settings])
            assert "holds something else (expected a new or empty folder, or an earlier model's)" in str(done.exception)
    assert [path.name for path in (*models.iterdir(), *place.iterdir())] == ["mine", "notes.txt"]
    (tmp_path / "empty").mkdir()
    for version in ("1", "2"):
        assert printed("download", version, str(tmp_path / "empty"), *settings)


def test_a_program_is_told_versions_and_changes_and_a_dry_run_moves_no_file(
    tracking: TrackingConfig, settings: list[str], tmp_path: Path, model_folder: Path
) -> None:
    def told(*arguments: str) -> Any:
        return json.loads("\n".join(printed(*arguments, "--json", *settings)))

    size = sum(path.stat().st_size for path in model_folder.iterdir())
    change = told("champion", "1", "It is the first.")
    assert (change["action"], change["before"], change["after"]) == ("set_champion", None, "1")
    told("champion", "2", "Agreed.")
    assert told("roll-back", "Complaints.")["after"] == "1"
    target = tmp_path / "exported"
    foretold = told("download", "champion", str(target), "--dry-run")
    assert (foretold["writes"], foretold["files"], foretold["bytes"]) == (str(target), 4, size)
    assert not target.exists()
    name = tracking.registered_model
    loaded = told("download", "champion", str(target))
    assert loaded == {"registered_model": name, "version": "1", "folder": str(target)}


def test_a_base_model_is_registered_once_and_a_dry_run_says_which_it_is(
    tracking: TrackingConfig, model_folder: Path
) -> None:
    version = register_base_model(tracking, model_folder, "tiny")
    assert forecast_registration(tracking, model_folder, "tiny").files == 0
    assert (
        f"version {version}: tiny, registered already"
        in forecast_registration(tracking, model_folder, "tiny").sentences[0]
    )
    (model_folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    size = sum(path.stat().st_size for path in model_folder.iterdir())
    new = forecast_registration(tracking, model_folder, "tiny")
    assert (new.files, new.bytes) == (4, size)
    assert len(connect(tracking).search_model_versions(f"name = '{tracking.registered_model}'")) == 1


def test_an_alias_that_was_moved_without_a_record_is_shown(tracking: TrackingConfig, settings: list[str]) -> None:
    printed("champion", "1", "It is the first.", *settings)
    connect(tracking).set_registered_model_alias(tracking.registered_model, "champion", "2")
    assert printed("show", *settings)[-1] == (
        "warning: The alias champion is on version 2, but the record ends with 1: it was moved in MLflow itself, "
        "without who and why."
    )


def test_a_registry_without_a_champion_says_how_to_make_one(tracking: TrackingConfig, settings: list[str]) -> None:
    assert printed("show", *settings) == [
        f"{tracking.registered_model} has no champion yet: `sgpo registry register MODEL`, then "
        "`sgpo registry champion VERSION WHY`, with the same --config, make the first one"
    ]
