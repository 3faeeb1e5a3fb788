"""A file of problems as it was read: in which layout, how many rows, what was merged and what left out."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sgpo.problems.layouts import find_layout
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.layouts.mapping import FieldMapping, mapped_layout
from sgpo.problems.repeats import DistinctProblems
from sgpo.problems.rows import ProblemFileError, read_rows
from sgpo.problems.schema import Problem
from sgpo.problems.table import validate
from sgpo.problems.values import FieldError, Row, answer_fields

OWN = "question and answer"
_FIELDS = tuple(Problem.model_fields)
_REQUIRED = ("question", "answer")
_INDEX = ("", "Unnamed: 0", "__index_level_0__")  # as pandas writes an index nobody named
_HEAD = 100
"""So many rows say which layout a file has."""
_EXAMPLES, _SHOWN = 3, 70
MAPPING = "`sgpo problems import` takes any with --question FIELD --answer FIELD"


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What was read of one file: its rows, those that repeat others, fields left out, examples of question and gold."""

    file: Path
    layout: str
    rows: int
    merged: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """Return the report for a person: one line, then the examples."""
        merged = f", {self.merged} repeated ones merged" if self.merged else ""
        line = f"{self.file}: read as {self.layout}: {self.rows} rows{merged}"
        if self.left_out:
            line += f"; not used: {', '.join(self.left_out)}"
        examples = [f"  {_short(question)} -> {_short(gold)}" for question, gold in self.examples]
        return ["; ".join([line, *self.notes]), *examples]


@dataclass(frozen=True, slots=True)
class ProblemSource:
    """The rows of one file as problems, each with its row, not yet merged with others."""

    file: Path
    layout: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    rows: Iterable[tuple[int, Problem]]

    def into(self, distinct: DistinctProblems) -> SourceReport:
        """Add all problems to `distinct`; raises ProblemFileError for the first row that is wrong or disagrees."""
        taken = merged = 0
        examples: list[tuple[str, str]] = []
        for row, problem in self.rows:
            taken += 1
            if not distinct.add(problem, self.file, row):
                merged += 1
            elif len(examples) < _EXAMPLES:
                examples.append((problem.question, problem.answer))
        return SourceReport(self.file, self.layout, taken, merged, self.left_out, self.notes, tuple(examples))


def open_source(path: Path, mapping: FieldMapping | None = None) -> ProblemSource:
    """Find out how a file is laid out, by its first rows; the others are read when the problems are.

    Raises ProblemFileError, with the fields that were found, where nobody has said how to read them.
    """
    rows = read_rows(path)
    head = list(islice(rows, _HEAD))
    records = [record for _, record in head]
    numbered = chain(head, rows)
    layout = mapped_layout(mapping, records[0], path) if mapping else find_layout(records)
    if layout is not None:
        used = _laid_out(path, layout, numbered)
        return ProblemSource(path, layout.name, layout.left_out(records), (), used)
    found = list(records[0])
    if missing := [name for name in _REQUIRED if name not in found]:
        names = ", ".join(f"'{name[:40]}'" for name in found[:12]) or "none"
        raise ProblemFileError(
            f"{path}: no '{missing[0]}', and no published layout: its fields are {names} "
            f"(expected question and answer; {MAPPING})"
        )
    index = [name for name in _INDEX if name in found]
    notes = ("the index column is left out",) if index else ()
    strict = path.suffix.lower() in (".jsonl", ".json")  # JSON has types, and "3" is no number there
    return ProblemSource(path, OWN, (), notes, _own(path, numbered, strict))


def _laid_out(path: Path, layout: Layout, numbered: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Problem]]:
    needed = sorted(layout.columns - layout.optional - layout.ignores)
    for row, record in numbered:
        where = f"{path} row {row}"
        if missing := [name for name in needed if record.get(name) is None]:
            raise ProblemFileError(f"{where}: '{missing[0]}' is missing (every row of {layout.name} has it)")
        try:
            fields: Mapping[str, Any] = {"source": layout.name, **layout.fields(record)}
        except FieldError as error:
            raise ProblemFileError(f"{where}: {error}") from None
        yield row, validate(Problem, fields, where, ProblemFileError)


def _own(path: Path, numbered: Iterable[tuple[int, Row]], strict: bool) -> Iterator[tuple[int, Problem]]:
    for row, record in numbered:
        where = f"{path} row {row}"
        fields = {name: value for name, value in record.items() if name not in _INDEX}
        if unknown := sorted(set(fields) - set(_FIELDS)):
            known = ", ".join(_FIELDS)
            raise ProblemFileError(f"{where}: unknown field '{unknown[0][:40]}' (known fields: {known}; {MAPPING})")
        if not strict:  # an empty cell is a value that is not given
            fields = {name: value for name, value in fields.items() if value is not None or name in _REQUIRED}
        try:
            if "answer" in fields:
                fields |= _agreeing(fields, answer_fields(fields["answer"]))
        except FieldError as error:
            raise ProblemFileError(f"{where}: {error}") from None
        yield row, validate(Problem, fields, where, ProblemFileError, strict=strict)


def _agreeing(fields: Mapping[str, Any], gold: dict[str, Any]) -> dict[str, Any]:
    if gold.get("multiple") and fields.get("multiple") is False:
        raise FieldError("'multiple' is False, but 'answer' is a list of several (expected true, or one answer)")
    return gold


def _short(text: str) -> str:
    """Return a text in one line between quotes, its end left out where it is long."""
    line = " ".join(text.split())
    return json.dumps(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...", ensure_ascii=False)


def read_sources(
    paths: Sequence[Path], mapping: FieldMapping | None = None
) -> tuple[list[Problem], list[SourceReport]]:
    """Return the problems of all files, every question once, and what was read of each. Raises ProblemFileError."""
    distinct = DistinctProblems()
    reports = [open_source(path, mapping).into(distinct) for path in paths]
    return distinct.problems, reports
