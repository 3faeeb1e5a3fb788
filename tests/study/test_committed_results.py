"""The committed results belong to the committed study: a new setting that is off does not disown what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.config import load_config
from sgpo.study.cells import cells_of, load_study
from sgpo.study.results import Results
from sgpo.training.recovery.origin import digest_of_what_is_computed

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = load_study(REPOSITORY / "configs" / "studies" / "testbed.yaml")
ROWS = Results(REPOSITORY / STUDY.results).rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.cell}-{row.k}")
def test_a_line_is_of_a_cell_and_its_settings_are_what_they_were(row):
    assert row.cell in {cell.name for cell in cells_of(STUDY)}
    config = load_config(REPOSITORY / STUDY.recipe, row.settings)
    assert row.made_of["settings"].partition("+")[0] == digest_of_what_is_computed(config)
    assert (row.seed, row.split) == (config.seed, STUDY.tables[row.table].split)
