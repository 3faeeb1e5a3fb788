"""Problems in files: Parquet, JSON, JSONL and CSV, in the project's own fields or a published layout."""

from collections.abc import Sequence
from pathlib import Path

from sgpo.problems.rows import ProblemFileError, refuse_repeated_ids
from sgpo.problems.schema import Problem
from sgpo.problems.sources import read_sources
from sgpo.problems.table import write_table


def read_problems(path: Path | str) -> list[Problem]:
    """Return the problems of a .parquet, .jsonl, .json or .csv file, in order; published layouts are recognised.

    A question that is there again with the same answer is left out. An empty CSV cell is a value that is not given.
    Raises ProblemFileError; `sgpo.problems.sources` also says how a file was read.
    """
    return read_sources([Path(path)])[0]


def write_problems(problems: Sequence[Problem], path: Path | str) -> None:
    """Write problems as Parquet, whole or not at all; equal problems give equal bytes. Raises ProblemFileError."""
    path = Path(path)
    if path.suffix != ".parquet":
        raise ProblemFileError(f"{path}: problems are written as Parquet (expected a name that ends in .parquet)")
    refuse_repeated_ids(path, problems)
    write_table(problems, path)
