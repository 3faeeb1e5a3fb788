"""The rows of a data file, whatever they say: Parquet, JSONL and CSV to numbered records."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sgpo.problems.schema import Problem
from sgpo.problems.table import TableError, read_parquet


class ProblemFileError(TableError):
    """A problem file that cannot be used; one line naming file, row, field and what would be right."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, record) of a file of any layout. Raises ProblemFileError for what is no file, text, JSON or CSV."""
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise ProblemFileError(f"{path}: unsupported kind of file '{path.suffix}' (expected .parquet, .jsonl or .csv)")
    if not path.is_file():
        raise ProblemFileError(f"{path}: no such file")
    empty = True
    for row in readers[path.suffix](path):
        empty = False
        yield row
    if empty:
        raise ProblemFileError(f"{path}: holds no rows (expected at least one problem)")


def refuse_repeated_ids(path: Path, rows: Sequence[int], problems: Sequence[Problem]) -> None:
    """Raise ProblemFileError naming both rows of an id that is there twice."""
    first: dict[str, int] = {}
    for row, problem in zip(rows, problems, strict=True):
        if problem.id in first:
            message = f"id '{problem.id}' is already the id of row {first[problem.id]} (expected every id once)"
            raise ProblemFileError(f"{path} row {row}: {message}")
        first[problem.id] = row
    if not problems:
        raise ProblemFileError(f"{path}: holds no rows (expected at least one problem)")


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProblemFileError(
            f"{path}: not UTF-8 at byte {error.start} (line {line}; expected text in UTF-8)"
        ) from None


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} row {number}"
        try:
            record = json.loads(line, object_pairs_hook=_pairs)
        except json.JSONDecodeError as error:
            raise ProblemFileError(f"{where}: not JSON at column {error.colno}: {error.msg}") from None
        except (_RepeatedKeyError, RecursionError, ValueError) as error:
            raise ProblemFileError(f"{where}: not a JSON record: {error}") from None
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise ProblemFileError(f"{where}: is a {kind} (expected a JSON object with the fields of a problem)")
        yield number, record


class _RepeatedKeyError(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(f"field '{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return record


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(sys.maxsize)  # responses are longer than the module's default of 128 KiB
    lines = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    number = 0
    try:
        header = next(lines, [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise ProblemFileError(f"{path} header: field '{twice[0]}' is there twice")
        for number, cells in enumerate(lines, start=1):
            if not cells:
                raise ProblemFileError(f"{path} row {number}: is blank (expected {len(header)} cells)")
            if len(cells) != len(header):
                raise ProblemFileError(f"{path} row {number}: has {len(cells)} cells (expected {len(header)})")
            yield number, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise ProblemFileError(f"{path} row {number + 1}: not CSV: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate(read_parquet(path, ProblemFileError).to_pylist(), start=1)
