"""Digests of what a line of results depends on: of rows, so that a newer schema of a file disowns nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgpo.config.pipeline import load_params
from sgpo.pipeline.stages import build_world
from sgpo.study.digests import digest_of
from sgpo.study.results import Results

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = [{"id": "a", "answer": "4"}, {"id": "b", "answer": "5"}]


def written(folder: Path, name: str, rows: list[dict]) -> Path:
    file = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_a_column_that_is_empty_makes_no_other_data(tmp_path):
    newer = [{**row, "details": None, "multiple": False} for row in ROWS]
    assert digest_of(written(tmp_path, "old", ROWS)) == digest_of(written(tmp_path, "new", newer))


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS[::-1], [{**ROWS[0], "answer": "5"}, ROWS[1]]])
def test_other_rows_are_other_data(tmp_path, rows):
    assert digest_of(written(tmp_path, "some", ROWS)) != digest_of(written(tmp_path, "others", rows))


def test_a_file_that_changes_is_read_again(tmp_path):
    """A process that lives long, or another test of this one, has seen the path with other rows."""
    before = digest_of(written(tmp_path, "rows", ROWS))
    assert digest_of(written(tmp_path, "rows", ROWS[:1])) != before


def test_a_zero_is_no_empty_field(tmp_path):
    zero, none = ([{"id": "a", "score": score}] for score in (0.0, None))
    assert digest_of(written(tmp_path, "zero", zero)) != digest_of(written(tmp_path, "none", none))


def test_the_demo_s_problems_are_those_that_the_study_showed(tmp_path):
    build_world(load_params(REPOSITORY / "params.yaml"), tmp_path)
    rows = Results(REPOSITORY / "docs" / "measured" / "study.jsonl").of("shown")
    assert {row.made_of["problems"] for row in rows} == {digest_of(tmp_path / "problems" / "held_out.parquet")}
    assert {(row.method, row.seed) for row in rows} == {(m, s) for m in ("grpo", "sgpo_frozen") for s in range(5)}
