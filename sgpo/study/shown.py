"""What a study found from a run's model on its problems: methods side by side with one budget, for its last lines."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from sgpo.study.digests import digest_of
from sgpo.study.report import interval
from sgpo.study.results import Result, Results

TABLE = "shown_best"
"""The table of configs/studies/testbed.yaml with the demo's recipe and its baselines on the demo's problems."""


def describe_shown(results: Path, problems: Path, model: Path, table: str = TABLE) -> list[str]:
    """Return a line for each method of a table, of lines that are of these problems and begin from this model.

    `problems` is a file and `model` a folder; there may be no such line. Raises StudyError for a results file that is
    none.
    """
    if not (results.is_file() and problems.is_file() and model.is_dir()):
        return []
    wanted = {"problems": digest_of(problems), "model": digest_of(model)}
    rows = [row for row in Results(results).of(table) if wanted.items() <= row.made_of.items()]
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
