"""Problems in files: Parquet, JSONL and CSV, and the published layouts of the four benchmarks."""

from collections.abc import Sequence
from pathlib import Path

from sgpo.problems.benchmarks import find_layout, read_layout
from sgpo.problems.rows import ProblemFileError, read_rows, refuse_repeated_ids
from sgpo.problems.schema import Problem
from sgpo.problems.table import check_columns, read_parquet, read_table, validate, write_table

_FIELDS = tuple(Problem.model_fields)
_REQUIRED = ("question", "answer")


def read_problems(path: Path | str) -> list[Problem]:
    """Return the problems of a .parquet, .jsonl or .csv file, in order; a benchmark's published layout is recognised.

    A row of a JSONL file is its line number; of a CSV or Parquet file the record's number from 1, without the header.
    An empty CSV cell is a value that is not given. Raises ProblemFileError.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        if layout := find_layout(read_parquet(path, ProblemFileError).column_names):
            return read_layout(path, layout)
        problems = read_table(path, Problem, ProblemFileError)
        refuse_repeated_ids(path, range(1, len(problems) + 1), problems)
        return problems
    numbered = list(read_rows(path))
    if layout := find_layout(numbered[0][1]):
        return read_layout(path, layout)
    is_csv = path.suffix == ".csv"
    if is_csv:
        check_columns(numbered[0][1], _FIELDS, _REQUIRED, f"{path} header", ProblemFileError)
    problems = []
    for row, record in numbered:
        if is_csv:
            record = {name: cell for name, cell in record.items() if cell is not None or name in _REQUIRED}
        # Every CSV cell is text; JSON has types, and 27 is no text there.
        problems.append(validate(Problem, record, f"{path} row {row}", ProblemFileError, strict=not is_csv))
    refuse_repeated_ids(path, [row for row, _ in numbered], problems)
    return problems


def write_problems(problems: Sequence[Problem], path: Path | str) -> None:
    """Write problems as Parquet, whole or not at all; equal problems give equal bytes. Raises ProblemFileError."""
    path = Path(path)
    if path.suffix != ".parquet":
        raise ProblemFileError(f"{path}: problems are written as Parquet (expected a name that ends in .parquet)")
    refuse_repeated_ids(path, range(1, len(problems) + 1), problems)
    write_table(problems, path)
