"""Typed tables: flat records (pydantic models or dataclasses) to Parquet and back, refused with file, row and field.

The same rows give the same bytes, so that a data version's hash says whether the data changed.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from sgpo.errors import UserError, one_line
from sgpo.files import publish_file
from sgpo.problems.made_by import no_such_file
from sgpo.problems.values import is_blank, shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

RowT = TypeVar("RowT")


class TableError(UserError, ValueError):
    """A table that cannot be used; the message names file, row and field, and what would be right."""


def write_table(rows: Sequence[RowT], path: Path | str, model: type[RowT] | None = None) -> None:
    """Write records of one type as Parquet, whole or not at all; dictionary keys are sorted, values keep their order.

    `model` is needed only where there may be no rows. Raises TableError for a value that its column cannot hold.
    """
    path = Path(path)
    model = model or (type(rows[0]) if rows else None)
    if model is None:
        raise TableError(f"{path}: no rows to write (expected at least one, or the record type for an empty table)")
    with publish_table(path, model) as table:
        for row in rows:
            table.append(row)


@contextmanager
def publish_table(path: Path | str, model: type[RowT]) -> Iterator[TableWriter[RowT]]:
    """Write a table row by row, without holding it; it appears when the block ends without an error."""
    import pyarrow.parquet as pq

    path = Path(path)
    with publish_file(path) as aside, pq.ParquetWriter(aside, arrow_schema(model), compression="zstd") as file:
        table = TableWriter(path, model, file)
        yield table
        table.flush()


class TableWriter(Generic[RowT]):
    """Rows of one type on their way into a Parquet file, in groups of GROUP_ROWS."""

    GROUP_ROWS = 4096

    def __init__(self, path: Path, model: type[RowT], file: pq.ParquetWriter) -> None:
        self._path, self._model, self._file = path, model, file
        self._rows: list[RowT] = []
        self._written = 0

    def append(self, row: RowT) -> None:
        """Add a row; raises TableError for one of another type, or (at the latest at the end) one that does not fit."""
        if not isinstance(row, self._model):
            number = self._written + len(self._rows) + 1
            message = f"is a {type(row).__name__} (expected {self._model.__name__})"
            raise TableError(f"{self._path} row {number}: {message}")
        self._rows.append(row)
        if len(self._rows) == self.GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows held; an empty table is a table too."""
        import pyarrow as pa

        if not self._rows and self._written:
            return
        schema = arrow_schema(self._model)
        columns = [
            _column([_plain(getattr(row, field.name)) for row in self._rows], field, self._path, self._written)
            for field in schema
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=schema))
        self._written += len(self._rows)
        self._rows.clear()


def read_table(path: Path | str, model: type[RowT], error: type[TableError] = TableError) -> list[RowT]:
    """Return the records of a Parquet file, rows from 1. Raises `error` (a TableError) where it is no such table.

    Columns may be narrower or wider numbers, and columns of fields with a default may be missing.
    """
    return list(iterate_table(path, model, error))


def iterate_table(path: Path | str, model: type[RowT], error: type[TableError] = TableError) -> Iterator[RowT]:
    """Yield the records of a Parquet file one after the other, as `read_table`, without holding the file in memory."""
    import pyarrow as pa

    schema = arrow_schema(model)
    required = {name for name, needed in _fields(model).items() if needed}
    with open_parquet(path, error) as file:
        names = file.schema_arrow.names
        check_columns(names, schema.names, required, str(path), error)
        number = 0
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group)
            except (pa.ArrowException, OSError) as cause:
                raise error(f"{path}: not a readable Parquet file: {one_line(cause)}") from None
            columns = {name: _read_column(table, schema.field(name), path, error) for name in names}
            for index in range(table.num_rows):
                number += 1
                record = {name: values[index] for name, values in columns.items()}
                yield validate(model, record, f"{path} row {number}", error)


def open_parquet(path: Path | str, error: type[TableError]) -> pq.ParquetFile:
    """Return an open Parquet file; raises `error` where there is no such file or it is something else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise error(no_such_file(path))
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as cause:  # damaged names are a ValueError
        raise error(f"{path}: not a readable Parquet file: {one_line(cause)}") from None


def check_columns(
    found: Iterable[str], known: Sequence[str], required: Iterable[str], where: str, error: type[TableError]
) -> None:
    """Raise `error` for a field that is unknown or given twice, or for a required one that is not there."""
    found = list(found)
    if unknown := sorted(set(found) - set(known)):
        raise error(f"{where}: unknown field '{unknown[0]}' (known fields: {', '.join(known)})")
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise error(f"{where}: field '{twice[0]}' is there twice")
    if missing := [name for name in known if name in set(required) - set(found)]:
        raise error(f"{where}: field '{missing[0]}' is missing (known fields: {', '.join(known)})")


def validate(
    model: type[RowT], record: Mapping[str, Any], where: str, error: type[TableError], *, strict: bool = False
) -> RowT:
    """Return the record as a `model`; raises `error` with the first thing wrong with it. `strict` converts no types."""
    try:
        return _adapter(model).validate_python(record, strict=strict or None)
    except ValidationError as cause:
        raise error(f"{where}: {_describe(model, cause.errors()[0])}") from None


@lru_cache
def arrow_schema(model: type) -> pa.Schema:
    """Return the columns that hold `model`: text, int64, float64, booleans, lists of these, maps from text to them."""
    import pyarrow as pa

    hints = get_type_hints(model)
    fields = []
    for name in _fields(model):
        arrow, nullable = _arrow_type(hints[name], f"{model.__name__}.{name}")
        fields.append(pa.field(name, arrow, nullable=nullable))
    return pa.schema(fields)


def _arrow_type(hint: Any, where: str) -> tuple[pa.DataType, bool]:
    import pyarrow as pa

    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1 and len(arguments) == 2:
            return _arrow_type(inner[0], where)[0], True
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        return pa.string(), False
    if origin in (list, tuple) and (len(arguments) == 1 or arguments[1:] == (Ellipsis,)):
        return pa.list_(_arrow_type(arguments[0], where)[0]), False
    if origin is dict and arguments[0] is str:
        return pa.map_(pa.string(), _arrow_type(arguments[1], where)[0]), False
    plain = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    if hint in plain:
        return plain[hint], False
    raise TypeError(f"{where}: no Parquet column holds a {hint}")


@lru_cache
def _fields(model: type) -> dict[str, bool]:
    """Field name -> whether it is required, in the order of the model."""
    if issubclass(model, BaseModel):
        return {name: field.is_required() for name, field in model.model_fields.items()}
    missing = dataclasses.MISSING
    return {
        field.name: field.default is missing and field.default_factory is missing for field in dataclasses.fields(model)
    }


@lru_cache
def _adapter(model: type[RowT]) -> TypeAdapter[RowT]:
    return TypeAdapter(model)


def _plain(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, dict) else value


def _column(values: list[Any], field: pa.Field, path: Path, rows_before: int) -> pa.Array:
    import pyarrow as pa

    refusals = (pa.ArrowException, OverflowError, TypeError, ValueError)
    try:
        return pa.array(values, type=field.type)
    except refusals:
        for number, value in enumerate(values, start=rows_before + 1):
            try:
                pa.array([value], type=field.type)
            except refusals as cause:
                message = f"'{field.name}' does not fit a column of {field.type}: {one_line(cause)}"
                raise TableError(f"{path} row {number}: {message}") from None
        raise


def _read_column(table: pa.Table, field: pa.Field, path: Path | str, error: type[TableError]) -> list[Any]:
    import pyarrow as pa

    column = table.column(field.name)
    if not _fits(column.type, field.type):
        raise error(f"{path}: column '{field.name}' holds {column.type} (expected {field.type})")
    if pa.types.is_map(field.type):
        # A struct column (as other tools write mappings) has a key for every row; absent ones are null.
        return [
            None if value is None else {key: item for key, item in dict(value).items() if item is not None}
            for value in column.to_pylist()
        ]
    try:
        return column.cast(field.type).to_pylist()
    except pa.ArrowInvalid as cause:
        raise error(f"{path}: column '{field.name}' holds {column.type}: {one_line(cause)}") from None


def _fits(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column type carries the expected kind of value, whatever its width or encoding."""
    from pyarrow import types as kinds

    if kinds.is_dictionary(found):
        found = found.value_type
    if kinds.is_null(found):
        return True
    if kinds.is_map(expected):
        return kinds.is_map(found) or kinds.is_struct(found)
    if kinds.is_list(expected):
        is_list = kinds.is_list(found) or kinds.is_large_list(found) or kinds.is_fixed_size_list(found)
        return is_list and _fits(found.value_type, expected.value_type)
    if kinds.is_string(expected):
        return kinds.is_string(found) or kinds.is_large_string(found) or kinds.is_string_view(found)
    if kinds.is_boolean(expected):
        return kinds.is_boolean(found)
    return kinds.is_integer(found) or kinds.is_floating(found)


def _describe(model: type, item: Any) -> str:
    """One pydantic error in the words of the field's own description."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown field '{key}' (known fields: {', '.join(_fields(model))})"
    field = model.model_fields.get(str(item["loc"][0])) if issubclass(model, BaseModel) and item["loc"] else None
    expected = f"expected {field.description}" if field and field.description else item["msg"]
    if item["type"] == "missing":
        return f"'{key}' is missing ({expected})"
    value = item["input"]
    if value is None or (isinstance(value, str) and is_blank(value)):
        return f"'{key}' is empty ({expected})"
    if isinstance(value, str) and "\0" in value:
        return f"'{key}' holds a NUL character ({expected})"
    if item["type"] == "string_unicode":
        return f"'{key}' holds a lone surrogate, which is no Unicode text ({expected})"
    return f"'{key}' is {shown(value)} ({expected})"
