"""Every command offers what scripts expect of it: `--json` where it finds something out, `--dry-run` where it is long.

A new command has both, or stands below with those that need not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from sgpo.cli.main import app
from sgpo.cli.services import PassedOn

REPOSITORY = Path(__file__).parents[2]
DOES_NOT_TAKE_LONG = {
    # They only read.
    "check", "compare", "follow", "plan", "rollouts", "runs", "status",
    "registry lineage", "registry show", "storage list", "storage verify", "verifiers check", "verifiers list",
    "strategies diff", "strategies families", "strategies list", "strategies retrieve", "strategies show",
    # They write, and are done in seconds.
    "init", "replay", "report", "split", "strategies report", "world functions", "world problems",
    "registry champion", "registry roll-back", "storage delete",
    # They start and stop servers.
    "down", "up", "world teacher",
}  # fmt: skip
FINDS_NOTHING_OUT = {
    "down", "follow", "init", "replay", "report", "storage delete", "up", "world functions", "world problems",
    "world teacher",
}  # fmt: skip


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its words, those of flows/ too."""
    if isinstance(command, PassedOn):
        group = get_command(import_module(command.module).app)
        assert isinstance(group, TyperGroup)
        yield " ".join(path), group.commands[path[-1]]
    elif isinstance(command, TyperGroup):
        if command.invoke_without_command and path:
            yield " ".join(path), command
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))
    else:
        yield " ".join(path), command


@pytest.fixture(scope="module")
def options() -> dict[str, dict[str, Any]]:
    """The options of every command by flag."""
    found = dict(commands(get_command(app)))
    return {
        path: {flag: option for option in command.params for flag in option.opts} for path, command in found.items()
    }


@pytest.mark.parametrize(
    ("flag", "need_not"), [("--dry-run", DOES_NOT_TAKE_LONG), ("--json", FINDS_NOTHING_OUT)], ids=["dry-run", "json"]
)
def test_commands_offer_it_but_for_those_that_need_not(
    flag: str, need_not: set[str], options: dict[str, dict[str, Any]]
) -> None:
    assert {path for path, known in options.items() if flag not in known} == need_not


def test_the_page_for_scripts_has_the_document_of_each(options: dict[str, dict[str, Any]]) -> None:
    section = (REPOSITORY / "docs" / "browse.md").read_text(encoding="utf-8").split("## For scripts")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([^`]+)`", row)} == options.keys() - FINDS_NOTHING_OUT


def test_one_word_means_the_same_everywhere(options: dict[str, dict[str, Any]]) -> None:
    assert {known["--json"].help for known in options.values() if "--json" in known} == {"Print JSON"}
    dry = {path: known["--dry-run"].help for path, known in options.items() if "--dry-run" in known}
    del dry["retrain"]  # the flow's own, which also checks
    assert set(dry.values()) == {"Say what would be done and how much; write nothing"}
