"""How one data set is laid out: the columns that tell it from the others, and what a row says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sgpo.problems.values import Row


def _any_rows(rows: Sequence[Row]) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Layout:
    """A published layout. `fields` makes the fields of a problem of a row, and raises FieldError.

    `columns` are those that the layout is recognised by, and `absent` those that it never has; every row has a value in
    `columns`, but for the `optional` ones. `uses` are further columns that `fields` reads. Where columns do not settle
    it, `accepts` looks at the first rows of the file.
    """

    name: str
    columns: frozenset[str]
    fields: Callable[[Row], dict[str, Any]]
    absent: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    accepts: Callable[[Sequence[Row]], bool] = _any_rows

    def recognises(self, rows: Sequence[Row]) -> bool:
        """Whether a file that begins with these rows is laid out so."""
        found = set(rows[0])
        return self.columns <= found and not self.absent & found and self.accepts(rows)

    def left_out(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the columns that a problem has no use for, such as a solution written by hand."""
        used = (self.columns | self.uses) - self.ignores
        return tuple(name for name in rows[0] if name not in used)
