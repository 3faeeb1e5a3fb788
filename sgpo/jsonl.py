"""An append-only file of JSON lines that a kill cannot spoil."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sgpo.errors import UserError
from sgpo.files import publish_file

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class JsonlError(UserError, ValueError):
    """A file of JSON lines that cannot be read; the message names file and row."""


class JsonlFile:
    """The rows of a file, in memory and on disk. Each row is on disk when `append` returns.

    A last line that a kill tore off is no row; the file loses it when it is next written, so that reading changes
    nothing. Numbers that are not finite are written as the strings "NaN", "Infinity" and "-Infinity", since JSON has
    none; `number` reads them back. One process writes at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows, self._torn = _read(path)

    def append(self, row: dict[str, Any]) -> None:
        row = _writable(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._torn:
            self._rewrite()
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except BaseException:  # such as a full disk, which takes the beginning of the line
            self._torn = True
            raise
        self.rows.append(row)

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the rows that are not `wanted`, and a torn last line; the file is rewritten aside and renamed."""
        kept = [row for row in self.rows if wanted(row)]
        if self._torn or len(kept) < len(self.rows):
            self.rows = kept
            self._rewrite()

    def _rewrite(self) -> None:
        with publish_file(self.path) as aside:
            aside.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        self._torn = False


def open_journal(path: Path, about: Mapping[str, Any]) -> JsonlFile:
    """Return what is done of a long job: the rows after the first, if the first says it is about the same.

    A file about something else is started again.
    """
    journal, first = JsonlFile(path), {"about": dict(about)}
    same = journal.rows[:1] == [first]
    journal.keep(lambda row: same)
    if not same:
        journal.append(first)
    return journal


def number(value: Any) -> float:
    """Return a number as it was before it was written."""
    return float(_NOT_FINITE.get(value, value)) if isinstance(value, str) else float(value)


def _writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _read(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of the file, and whether its last line is not whole."""
    if not path.exists():
        return [], False
    content = path.read_bytes()
    whole, newline, tail = content.rpartition(b"\n")
    rows = []
    for position, line in enumerate(whole.split(b"\n") if newline else [], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            raise JsonlError(f"{path} row {position}: not JSON (expected one object per line)") from None
        if not isinstance(row, dict):
            raise JsonlError(f"{path} row {position}: {type(row).__name__} (expected an object)")
        rows.append(row)
    return rows, bool(tail)
