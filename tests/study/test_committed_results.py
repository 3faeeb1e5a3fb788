"""The committed results belong to the committed study: a new setting that is off does not disown what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.config import RunConfig, load_config
from sgpo.config.study import OWN, StudyConfig
from sgpo.study.cells import cells_of, load_study
from sgpo.study.report import in_order
from sgpo.study.results import Result, Results
from sgpo.training.inputs import reads_responses
from sgpo.training.recovery.origin import digest_of_what_is_computed

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("testbed", "real", "real_cpu", "logic", "code")
STUDIES = {name: load_study(REPOSITORY / "configs" / "studies" / f"{name}.yaml") for name in NAMES}
ROWS = [(name, row) for name, study in STUDIES.items() for row in Results(REPOSITORY / study.results).rows]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{row.cell}-{row.benchmark}-{row.k}" for _, row in ROWS])
def test_a_line_is_of_a_cell_and_its_settings_are_what_they_were(name, row):
    study = STUDIES[name]
    assert row.cell in {cell.name for cell in cells_of(study)}
    config = load_config(REPOSITORY / study.recipe, row.settings)
    assert row.made_of["settings"].partition("+")[0] == digest_of_what_is_computed(config)
    table = study.tables[row.table]
    assert (row.seed, row.split) == (config.seed, table.split)
    assert row.benchmark in (OWN, *table.benchmarks)
    if name == "testbed":  # the others' lines were written when every line had the digest of the responses
        assert ("responses.parquet" in row.made_of) == any(map(reads_responses, [config, *_begun_from(study, row)]))


def test_a_page_has_the_table_s_order_whenever_its_lines_were_written():
    study = STUDIES["testbed"]
    table = study.tables["pays"]
    rows = in_order(reversed(Results(REPOSITORY / study.results).of("pays", (32,))), table)
    measured = list(dict.fromkeys((row.world, row.method) for row in rows))
    assert measured == [(w, m) for w in table.worlds for m in table.methods if (w, m) in measured]
    assert len(measured) > len(table.methods)


def _begun_from(study: StudyConfig, row: Result) -> list[RunConfig]:
    """Return the settings of the methods that the line's method starts from."""
    found, start = [], study.methods[row.method].start
    while start is not None:
        found.append(load_config(REPOSITORY / study.recipe, study.methods[start].settings))
        start = study.methods[start].start
    return found
