"""`sgpo storage …` on the commands themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from s3_server import contents
from typer.testing import CliRunner, Result

from sgpo.cli.storage import storage_app
from sgpo.storage import StorageError

pytestmark = pytest.mark.slow


@pytest.fixture
def storage(settings, tmp_path):
    """Run one command with the settings in a recipe."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"storage": settings.model_dump(mode="json")}))

    def run(command: str, *arguments: str | Path) -> Result:
        return CliRunner().invoke(storage_app, [command, "--config", str(recipe), *map(str, arguments)])

    return run


def said(result: Result) -> str:
    assert result.exception is None, result.output
    return result.output.strip()


def refused(result: Result) -> str:
    assert isinstance(result.exception, StorageError)
    return str(result.exception)


def test_push_list_verify_pull_delete(storage, folder, tmp_path):
    size = sum(len(content) for content in contents(folder).values())
    assert said(storage("push", folder, "models/seven")) == f"models/seven: 5 files, {size:,} bytes; 5 files sent"
    assert said(storage("push", folder, "models/seven")) == f"models/seven: 5 files, {size:,} bytes; 0 files sent"
    assert said(storage("verify", "models/seven")) == f"models/seven: 5 files, {size:,} bytes, all as published"
    assert said(storage("pull", "models/seven", tmp_path / "back")) == f"{tmp_path / 'back'}: 5 files, {size:,} bytes"
    assert contents(tmp_path / "back") == contents(folder)
    said(storage("push", folder, "other"))
    lines = said(storage("list")).splitlines()
    assert [row["name"] for row in json.loads(said(storage("list", "--json")))] == [line.split()[0] for line in lines]
    assert [line.split()[0] for line in lines] == ["models/seven", "other"]
    assert said(storage("list", "--under", "other")).startswith(f"other  5 files, {size:,} bytes, 2")
    assert said(storage("delete", "other")) == "other: deleted"
    assert [line.split()[0] for line in said(storage("list")).splitlines()] == ["models/seven"]


def test_a_program_is_told_the_same_and_a_dry_run_moves_nothing(storage, store, folder, tmp_path):
    def told(*arguments: str | Path):
        return json.loads(said(storage(*arguments, "--json")))

    size = sum(len(content) for content in contents(folder).values())
    before = contents(tmp_path)
    foretold = told("push", folder, "models/seven", "--dry-run")
    assert (foretold["writes"], foretold["files"], foretold["bytes"]) == ("models/seven", 5, size)
    assert store.keys("") == {}
    sent = told("push", folder, "models/seven")
    assert (sent["name"], sent["files"], sent["size"], sent["sent"]) == ("models/seven", 5, size, 5)
    (folder / "config.json").write_text("{'new': 1}")
    assert "holds another folder" in refused(storage("push", folder, "models/seven", "--dry-run"))
    foretold = told("push", folder, "models/seven", "--dry-run", "--replace")
    assert (foretold["files"], foretold["bytes"]) == (1, len("{'new': 1}"))
    (folder / "config.json").write_text("{}")
    foretold = told("pull", "models/seven", tmp_path / "back", "--dry-run")
    assert (foretold["writes"], foretold["files"], foretold["bytes"]) == (str(tmp_path / "back"), 5, size)
    assert contents(tmp_path) == before
    assert told("pull", "models/seven", tmp_path / "back")["folder"] == str(tmp_path / "back")
    assert told("verify", "models/seven")["size"] == size


def test_what_is_there_is_replaced_only_when_asked_to(storage, folder, tmp_path):
    said(storage("push", folder, "models/seven"))
    (folder / "config.json").write_text("{'new': 1}")
    assert "models/seven at http" in refused(storage("push", folder, "models/seven"))
    assert "1 file sent" in said(storage("push", "--replace", folder, "models/seven"))
    (tmp_path / "back").mkdir()
    assert refused(storage("pull", "models/seven", tmp_path / "back")) == (
        f"{tmp_path / 'back'}: exists (expected a new folder, or --replace)"
    )
    said(storage("pull", "--replace", "models/seven", tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(folder)


@pytest.mark.parametrize("command", [("verify", "no/such"), ("pull", "no/such", "somewhere"), ("delete", "no/such")])
def test_what_is_not_there_is_named(storage, command):
    assert "no/such at http://127.0.0.1:" in refused(storage(*command))
