"""The file of a study's results: a line per finished cell and k."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sgpo.config.study import OWN
from sgpo.errors import UserError, one_line
from sgpo.jsonl import JsonlFile


class StudyError(UserError, ValueError):
    """Results that do not belong to the study, or that are not there yet."""


class Result(BaseModel):
    """One line: a cell measured on one benchmark with k responses per problem. Shares of 1.

    `benchmark` is `own` for the world's problems of `split`. `strict` is `avg`, under the name that stands beside
    `lenient`; older lines have neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    table: str
    world: str
    decisions: int | None
    habit: float | None
    family: str
    method: str
    variant: str
    settings: tuple[str, ...]
    seed: int
    learning_rate: float | None
    split: str
    benchmark: str = OWN
    k: int
    problems: int
    avg: float
    strict: float | None = None
    """avg@k, answers boxed as asked."""
    lenient: float | None = None
    """avg@k, any usual form of a final answer."""
    pass_: float
    per_tier: dict[str, float]
    tokens: int
    """Tokens that were sampled in training."""
    seconds: float
    guided_pass: float | None
    """Pass rate with the strategy, mean over the last ten steps."""
    steps: int
    made_of: dict[str, str]

    def as_row(self) -> dict[str, Any]:
        """Return the line of the file."""
        row = self.model_dump(mode="json")
        return {("pass" if key == "pass_" else key): value for key, value in row.items()}


class Results:
    """The lines of a file; each is on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        """Read the file; StudyError names the row that is no result."""
        self.path, self._file = path, JsonlFile(path)
        self.rows: list[Result] = []
        for number, row in enumerate(self._file.rows, start=1):
            try:
                self.rows.append(Result.model_validate({("pass_" if key == "pass" else key): row[key] for key in row}))
            except ValueError as error:
                raise StudyError(f"{path} row {number}: no result of a study ({one_line(error)})") from None

    def add(self, result: Result) -> None:
        """Append a line."""
        self._file.append(result.as_row())
        self.rows.append(result)

    def has(self, cell: str, ks: Iterable[int], made_of: dict[str, str], benchmark: str = OWN) -> bool:
        """Return whether every k of the cell is there for a benchmark.

        Raises StudyError where a line of it is of other data or settings.
        """
        there = set()
        for number, row in enumerate(self.rows, start=1):
            if (row.cell, row.benchmark) != (cell, benchmark):
                continue
            other = next((key for key in made_of if row.made_of.get(key) != made_of[key]), None)
            if other is not None:
                raise StudyError(
                    f"{self.path} row {number}: cell '{cell}' was made of other {other} ({row.made_of.get(other)}, now "
                    f"{made_of[other]}; expected another results file, or the line taken out)"
                )
            there.add(row.k)
        return there.issuperset(ks)

    def of_another(self, cell: str, equal: Mapping[str, Any], ks: Sequence[int]) -> list[Result]:
        """Return another cell's lines for all these k whose fields are as in `equal`, or none."""
        by_cell: dict[str, list[Result]] = {}
        for row in self.rows:
            if row.cell != cell and row.k in ks and all(getattr(row, key) == equal[key] for key in equal):
                by_cell.setdefault(row.cell, []).append(row)
        return next((rows for rows in by_cell.values() if {row.k for row in rows} == set(ks)), [])

    def of(self, table: str, ks: Sequence[int] = (), benchmark: str = OWN) -> list[Result]:
        """Return the lines of a table and benchmark."""
        return [
            row for row in self.rows if (row.table, row.benchmark) == (table, benchmark) and (not ks or row.k in ks)
        ]
