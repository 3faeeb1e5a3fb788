"""The rows of a data file, whatever they say: Parquet, JSON, JSONL and CSV to numbered records."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgpo.errors import one_line
from sgpo.problems.made_by import no_such_file
from sgpo.problems.schema import Problem
from sgpo.problems.table import TableError, check_columns, open_parquet

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ".parquet, .jsonl, .json or .csv"
_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}


class ProblemFileError(TableError):
    """A problem file that cannot be used; one line naming file, row, field and what would be right."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, record) of a file of any layout. Raises ProblemFileError for what is no file, text, JSON or CSV.

    A row of JSONL is its line number; of an array, CSV or Parquet the record's number from 1, without the header.
    """
    readers = {".jsonl": _json_rows, ".json": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ProblemFileError(f"{path}: unsupported kind of file '{path.suffix}' (expected {KINDS})")
    if not path.is_file():
        raise ProblemFileError(no_such_file(path))
    empty = True
    for row in readers[suffix](path):
        empty = False
        yield row
    if empty:
        raise ProblemFileError(f"{path}: holds no rows (expected at least one problem)")


def refuse_repeated_ids(path: Path, problems: Sequence[Problem]) -> None:
    """Raise ProblemFileError naming both rows of an id that is there twice, or where there are no problems."""
    first: dict[str, int] = {}
    for row, problem in enumerate(problems, start=1):
        if problem.id in first:
            message = f"id '{problem.id}' is already the id of row {first[problem.id]} (expected every id once)"
            raise ProblemFileError(f"{path} row {row}: {message}")
        first[problem.id] = row
    if not problems:
        raise ProblemFileError(f"{path}: holds no rows (expected at least one problem)")


def _text(path: Path) -> str:
    data = path.read_bytes()
    if _looks_like_utf16(data):
        raise ProblemFileError(f"{path}: looks like UTF-16: save it as UTF-8 (expected text in UTF-8)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProblemFileError(
            f"{path}: not UTF-8 at byte {error.start} (line {line}; expected text in UTF-8)"
        ) from None


def _looks_like_utf16(data: bytes) -> bool:
    """Whether text begins with the mark of UTF-16, or every second byte of its beginning is 0, as in Latin text."""
    head = data[:64]
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return marked or (len(head) >= 8 and (not any(head[::2]) or not any(head[1::2])))


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield records of JSONL or of one JSON array: files of both names are found with either in them."""
    text = _text(path)
    records = _array(text) if text.lstrip().startswith("[") else None
    if records is not None:
        for number, record in enumerate(records, start=1):
            yield number, _record(record, f"{path} row {number}")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} row {number}"
        try:
            record = json.loads(line, object_pairs_hook=_pairs)
        except json.JSONDecodeError as error:
            raise ProblemFileError(f"{where}: not JSON at column {error.colno}: {error.msg}") from None
        except (_RepeatedKeyError, RecursionError, ValueError) as error:
            raise ProblemFileError(f"{where}: not a JSON record: {error}") from None
        yield number, _record(record, where)


def _array(text: str) -> list[Any] | None:
    """Return the items of a text that is one JSON array; None where it is none, and lines say where it breaks."""
    try:
        found = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _record(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise ProblemFileError(f"{where}: is a {kind} (expected a JSON object with the fields of a problem)")
    return record


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
        _check_header(path, header)
        for number, cells in enumerate(lines, start=1):
            if not cells:
                raise ProblemFileError(f"{path} row {number}: is blank (expected {len(header)} cells)")
            if len(cells) != len(header):
                raise ProblemFileError(f"{path} row {number}: has {len(cells)} cells (expected {len(header)})")
            yield number, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise ProblemFileError(f"{path} row {number + 1}: not CSV: {error}") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and (found := [shown for separator, shown in _SEPARATORS.items() if separator in header[0]]):
        raise ProblemFileError(f"{path} header: the separator looks like {found[0]} (expected commas)")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ProblemFileError(f"{path} header: field '{twice[0]}' is there twice")


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield records of any Parquet file, without holding it in memory: DAPO's has millions."""
    import pyarrow as pa

    number = 0
    with open_parquet(path, ProblemFileError) as file:
        try:
            names = file.schema_arrow.names
            check_columns(names, names, (), str(path), ProblemFileError)
            for batch in file.iter_batches(batch_size=1024):
                for number, record in enumerate(_shortest(batch).to_pylist(), start=number + 1):  # noqa: B020
                    yield number, record
        except ProblemFileError:
            raise
        except UnicodeDecodeError:
            raise ProblemFileError(f"{path} row {number + 1}: holds text that is not UTF-8") from None
        except (pa.ArrowException, OSError, ValueError, OverflowError) as cause:
            raise ProblemFileError(f"{path}: not a readable Parquet file: {one_line(cause)}") from None


def _shortest(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with narrow floats as the numbers that were written: 0.1, and not 0.10000000149."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        if field.type in (pa.float16(), pa.float32()):
            texts = batch.column(index).cast(pa.float32()).cast(pa.string()).to_pylist()
            numbers = pa.array([None if text is None else float(text) for text in texts], pa.float64())
            batch = batch.set_column(index, field.name, numbers)
    return batch
