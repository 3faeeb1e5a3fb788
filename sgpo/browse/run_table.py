"""Runs as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgpo.amounts import counted
from sgpo.browse.run_list import RunRow
from sgpo.report.decision import WORDS, points

STYLES = {"finished": "", "stopped": "yellow", "unfinished": "cyan"}
_HASH = 7
"""Characters of a data file's hash that are shown."""


def show_runs(rows: Sequence[RunRow], console: Console) -> None:
    """Print one row a run, and the sum of their sizes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "state", "method", "steps", "data", "result", "decision", "changed"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for row in rows:
        changed = f"{datetime.fromtimestamp(row.changed):%Y-%m-%d %H:%M}"
        table.add_row(
            Text(row.run_id), Text(row.state, style=STYLES[row.state]), Text(str(row.method or "-")), shown_steps(row),
            shown_data(row), shown_result(row), shown_decision(row), changed,
            shown_size(row.size),
        )  # fmt: skip
    console.print(table)
    console.print(f"{counted(len(rows), 'run')}, {shown_size(sum(row.size for row in rows))}", highlight=False)


def shown_size(size: float) -> str:
    """Return bytes as a person says them, in powers of ten as disks are sold."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} B"


def shown_steps(row: RunRow) -> str:
    """Return the steps that were made, of how many."""
    return f"{row.steps}/{row.planned}" if row.planned else str(row.steps)


def shown_data(row: RunRow) -> str:
    """Return the data's version, as the beginning of the hashes of splits and strategies."""
    names = ("splits/train.parquet", "strategies.parquet")
    found = [row.data[name][:_HASH] for name in names if name in row.data]
    return " ".join(found) or "-"


def shown_result(row: RunRow) -> str:
    """Return the gain with its interval in points; of a run without an evaluation the reward."""
    if row.gain is not None:
        return f"{points(row.gain.value)} ({points(row.gain.low)} to {points(row.gain.high)})"
    return "-" if row.reward is None else f"reward {row.reward:.2f}"


def shown_decision(row: RunRow) -> str:
    """Return what was decided, in a word, and about which version."""
    if row.decision is None:
        return "-"
    return f"{WORDS.get(row.decision, row.decision)}, version {row.version}"
