"""The report as one HTML file: everything is in it, and nothing is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sgpo.files import publish_file
from sgpo.jsonl import number
from sgpo.pipeline.report import Summary
from sgpo.report import charts
from sgpo.report.bank import read_bank
from sgpo.report.changes import SHOWN, read_changes
from sgpo.report.decision import decision_in_words
from sgpo.report.panels import PANELS, Panel
from sgpo.report.run_record import RunRecord, read_run
from sgpo.report.template import load_template
from sgpo.report.trajectories import pack_trajectories


@dataclass(frozen=True, slots=True)
class Curve:
    """A panel that has been drawn, with its values by step for those who read numbers."""

    panel: Panel
    svg: Markup
    names: tuple[str, ...]
    table: tuple[tuple[int, tuple[float | None, ...]], ...]


def write_report(run_folder: Path, output: Path, summary: Summary | None = None) -> list[str]:
    """Write the report of a run, whole or not at all; returns what it could not show, one line each.

    `summary` is that of a run whose summary.json is not written yet. Raises ReportError for a folder that is no run's.
    """
    record = read_run(run_folder, summary)
    html = render(record)
    with publish_file(output) as aside:
        aside.write_text(html, encoding="utf-8")
    return record.notes


def render(record: RunRecord) -> str:
    """Return the page of a run."""
    bank = read_bank(record)
    index, packed = pack_trajectories(record, bank.family_of)
    worse, better = read_changes(record)
    curves = [curve for panel in PANELS if (curve := _curve(panel, record.rows)) is not None]
    not_logged = [panel.title for panel in PANELS if panel.name not in {curve.panel.name for curve in curves}]
    if record.rows and not_logged:
        record.notes.append(f"Not logged in this run: {', '.join(not_logged)}.")
    phases, laps = _numbers(record.summary.get("seconds")), _laps(record.rows)
    comparison = record.comparison
    return load_template("page.html.jinja").render(
        record=record,
        verdict=decision_in_words(record),
        versions=_versions(record),
        means=dict(_numbers(record.summary.get("training"))),
        comparison=comparison,
        gains=Markup(charts.draw_gains(comparison)) if comparison else None,
        changes=(("Got worse", worse[:SHOWN], len(worse)), ("Got better", better[:SHOWN], len(better))),
        curves=curves,
        bank=bank,
        phases=phases,
        phase_chart=Markup(charts.draw_seconds(phases, "phases", "Seconds of each phase")) if phases else None,
        laps=laps,
        lap_chart=Markup(charts.draw_seconds(laps, "laps", "Seconds of training, in all steps")) if laps else None,
        index=_json(index),
        trajectories=len(index),
        packed=packed,
    )


def _curve(panel: Panel, rows: list[dict[str, Any]]) -> Curve | None:
    svg = charts.draw_panel(panel, rows)
    if svg is None:
        return None
    wanted = [name for one in panel.series for name in (one.metric, one.low, one.high)]
    names = [name for name in wanted if name and any(name in row for row in rows)]
    table = tuple(
        (row["step"] + 1, tuple(number(row[name]) if name in row else None for name in names))
        for row in rows
        if any(name in row for name in names)
    )
    return Curve(panel, Markup(svg), tuple(names), table)


def _versions(record: RunRecord) -> list[tuple[str, str]]:
    """Return what the run was made of and what it made, by name, as far as it is known."""
    versions = record.summary.get("data_versions")
    versions = versions if isinstance(versions, dict) else {}
    known = {
        "Registered model": record.summary.get("registered_model"),
        "Challenger": record.summary.get("challenger_version"),
        "Champion before": record.summary.get("champion_before"),
        "Champion after": record.summary.get("champion_after"),
        "Code": record.summary.get("git_commit"),
        "Method": record.setting("training.algorithm.type"),
        "Guide": record.setting("training.algorithm.guide"),
        "Steps": record.setting("training.steps"),
        "Learning rate": record.setting("training.learning_rate"),
        "Seed": record.setting("seed"),
        **{f"{name} (sha256)": value for name, value in record.made_of.items() if name != "settings"},
        **{f"{name} (md5)": value for name, value in sorted(versions.items())},
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]


def _numbers(tree: Any) -> list[tuple[str, float]]:
    """Return the numbers of a JSON object, by name; none where it is something else."""
    known = tree.items() if isinstance(tree, dict) else ()
    return [(str(name), value) for name, value in known if isinstance(value, int | float)]


def _laps(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Return the sum of each time/ metric over the steps, the largest first."""
    sums: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("time/"):
                sums[name] = sums.get(name, 0.0) + number(value)
    return sorted(sums.items(), key=lambda item: -item[1])


def _json(value: Any) -> Markup:
    """Return JSON that can stand in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
