"""What a study found on the problems of a run: methods side by side with the same budget, for its last lines."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from sgpo.study.digests import digest_of
from sgpo.study.report import interval
from sgpo.study.results import Result, Results

TABLE = "shown"
"""The table of configs/studies/testbed.yaml that has the demo's recipe and its baseline on the demo's problems."""


def describe_shown(results: Path, problems: Path, table: str = TABLE) -> list[str]:
    """Return a line for each method of a table, of the problems in the file `problems` alone; none where there is none.

    Raises StudyError for a results file that is none.
    """
    if not results.is_file() or not problems.is_file():
        return []
    digest = digest_of(problems)
    rows = [row for row in Results(results).of(table) if row.made_of.get("problems") == digest]
    largest = max((row.k for row in rows), default=0)
    methods: dict[str, list[Result]] = {}
    for row in rows:
        if row.k == largest:
            methods.setdefault(row.method, []).append(row)
    return [_line(method, group) for method, group in methods.items()]


def _line(method: str, rows: list[Result]) -> str:
    values = [row.avg for row in rows]
    between = interval(values)
    spread = f" ({100 * between[0]:.1f} to {100 * between[1]:.1f})" if between else ""
    seeds = f"{len(rows)} seed{'s' if len(rows) > 1 else ''}"
    return f"  {method:<24} {100 * fmean(values):.1f} %{spread}, {seeds}, {_tokens(rows):.1f} M tokens sampled"


def _tokens(rows: Iterable[Result]) -> float:
    return fmean([row.tokens for row in rows]) / 1e6
