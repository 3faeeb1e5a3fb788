"""Tables that are written and read row by row are the tables that are written and read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.problems.schema import Problem
from sgpo.problems.table import TableError, TableWriter, iterate_table, publish_table, read_table, write_table


def problems(count: int) -> list[Problem]:
    return [
        Problem(id=f"p{number}", question=f"What is {number} + 1?", answer=str(number + 1)) for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 25])
def test_row_by_row_gives_the_bytes_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(TableWriter, "GROUP_ROWS", 5)
    write_table(problems(count), tmp_path / "whole", Problem)
    with publish_table(tmp_path / "rows", Problem) as table:
        for problem in problems(count):
            table.append(problem)
            assert not (tmp_path / "rows").exists()
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "whole").read_bytes()
    assert list(iterate_table(tmp_path / "rows", Problem)) == read_table(tmp_path / "rows", Problem) == problems(count)


def test_an_error_in_the_middle_leaves_nothing_and_names_the_row(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(TableWriter, "GROUP_ROWS", 2)

    def write() -> None:
        with publish_table(tmp_path / "rows", Problem) as table:
            for problem in problems(3):
                table.append(problem)
            table.append("a question")  # type: ignore[arg-type]

    with pytest.raises(TableError, match=r"rows row 4: is a str \(expected Problem\)"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_reading_stops_where_the_reader_does(tmp_path: Path) -> None:
    write_table(problems(3), tmp_path / "rows", Problem)
    rows = iterate_table(tmp_path / "rows", Problem)
    assert next(rows).id == "p0"
    rows.close()  # type: ignore[attr-defined]
    with pytest.raises(TableError, match="no such file"):
        next(iterate_table(tmp_path / "missing", Problem))
