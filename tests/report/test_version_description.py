"""A registered version's description: the decision first, then a table that Markdown draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_run import comparison

from sgpo.config import TrackingConfig
from sgpo.registry import RegistryError, register_model_folder
from sgpo.registry.description import write_description
from sgpo.registry.records import ChampionChange
from sgpo.report.version_description import describe_version
from sgpo.tracking.client import connect

REFUSED = ChampionChange(
    action="refuse", version="7", before="3", after="3", who="ci", why="Retraining.", when="2026-11-27T12:00:00+00:00",
    reasons=("The lower end is not above the margin.",),
)  # fmt: skip


def test_the_decision_comes_first_and_every_tier_has_a_row() -> None:
    compared = comparison()
    lines = describe_version(REFUSED, compared, "weekly-48").splitlines()
    assert lines[0].startswith("**refused: +")
    assert lines[0].endswith("the champion stays version 3**")
    rows = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    assert len(rows) == 2 + len(compared.rows())
    overall = compared.overall
    gain = f"+{100 * overall.difference.value:.1f}"
    (row,) = [row for row in rows if row.startswith("| all problems |")]
    assert row.startswith(
        f"| all problems | 40 | {100 * overall.champion:.1f} | {100 * overall.challenger:.1f} | {gain} ("
    )
    assert "- The lower end is not above the margin." in lines
    assert lines[-1] == "Run `weekly-48`: ci, 2026-11-27T12:00:00+00:00. Retraining."


def test_a_tier_with_a_bar_in_its_name_is_one_cell() -> None:
    compared = comparison()
    tiers = {f"a|b {name}": gain for name, gain in compared.tiers.items()}
    text = describe_version(REFUSED, compared.model_copy(update={"tiers": tiers}), "x")
    assert "| a\\|b tier 0 |" in text


@pytest.mark.slow
def test_the_registry_shows_it(tracking: TrackingConfig, model_folder: Path) -> None:
    version = register_model_folder(tracking, model_folder, {}, "one")
    write_description(tracking, version, "**refused**")
    assert connect(tracking).get_model_version(tracking.registered_model, version).description == "**refused**"
    write_description(tracking, version, "- a reason\n" * 1000)
    assert len(connect(tracking).get_model_version(tracking.registered_model, version).description) == 5000
    with pytest.raises(RegistryError):
        write_description(tracking, "99", "**refused**")
