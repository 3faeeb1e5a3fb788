"""Published data sets in their publishers' layouts, one family per file; recognised by columns, never by name."""

from collections.abc import Sequence

from sgpo.problems.layouts import benchmarks, reinforcement, solutions, word_problems
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.values import Row

LAYOUTS: tuple[Layout, ...] = (
    *benchmarks.LAYOUTS, *word_problems.LAYOUTS, *reinforcement.LAYOUTS, *solutions.LAYOUTS
)  # fmt: skip
"""The more particular ones first."""


def find_layout(rows: Sequence[Row]) -> Layout | None:
    """Return the layout of a file that begins with these rows, or None."""
    return next((layout for layout in LAYOUTS if layout.recognises(rows)), None)
