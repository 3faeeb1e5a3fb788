"""Curves of a study's runs over steps, and at which step a reward is reached: lines and a picture from the run folders.

    .venv/bin/python benchmarks/study_curves.py configs/studies/testbed.yaml --table main --methods grpo sgpo

Run where the study ran, since its runs have the metrics. Writes docs/measured/study-curves.jsonl (a line per run) and
study-curves.png beside it, and prints the steps to each reward; with --lines-only-read it does so from the lines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sgpo.jsonl import JsonlFile, number
from sgpo.study.cells import cells_of, load_study
from sgpo.study.jobs import job_of
from sgpo.study.results import Results

CURVES = {
    "reward/autonomous": "pass rate in training", "distill/alpha_mean": "alpha, mean over problems",
    "distill/kl_mass_masked_fraction": "KL mass masked by delta", "policy/entropy": "entropy, nats",
}  # fmt: skip
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
WINDOW = 5
"""Steps whose mean has to reach a level."""


def curves_of(study_file: Path, table: str, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line for each run of the table that is there, with its metrics by step."""
    study = load_study(study_file)
    results, lines = Results(study.results), []
    for cell in cells_of(study, (table,)):
        file = job_of(study, results, cell).folder / "metrics.jsonl" if cell.method in methods else None
        if file is None or not file.is_file():
            continue
        rows = JsonlFile(file).rows
        values = {name: by_step(rows, name) for name in CURVES if any(name in row for row in rows)}
        lines.append({"cell": cell.name, "family": cell.family, "method": cell.method, "seed": cell.seed, **values})
    return lines


def by_step(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return a metric at each step; one that has none, such as a step without gradient, has its neighbour's."""
    last = next(number(row[name]) for row in rows if name in row)
    values = []
    for row in rows:
        last = number(row[name]) if name in row else last
        values.append(round(last, 4))
    return values


def first_step(values: Sequence[float], level: float) -> int | None:
    """Return the step at which the mean of the last steps reaches a level; None where it never does."""
    for end in range(WINDOW, len(values) + 1):
        if fmean(values[end - WINDOW : end]) >= level:
            return end
    return None


def table_of(lines: Sequence[dict[str, Any]], family: str) -> str:
    """Return the mean step to each level by method, over the runs that reach it."""
    methods = list(dict.fromkeys(line["method"] for line in lines if line["family"] == family))
    head = f"| {family}: pass rate in training | " + " | ".join(f"{method}, step" for method in methods)
    shown = [head + " |", "|---" * (len(methods) + 1) + "|"]
    for level in LEVELS:
        cells = []
        for method in methods:
            runs = [line for line in lines if (line["family"], line["method"]) == (family, method)]
            steps = [first_step(run["reward/autonomous"], level) for run in runs]
            reached = [step for step in steps if step is not None]
            cells.append(f"{fmean(reached):.0f} ({len(reached)} of {len(runs)})" if reached else "-")
        shown.append(f"| {level:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(shown)


def draw(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw each metric over steps, the mean of the seeds with the range between them; readable in grey."""
    figure, axes = plt.subplots(1, len(CURVES), figsize=(4.2 * len(CURVES), 3.4), layout="constrained")
    groups = list(dict.fromkeys((line["family"], line["method"]) for line in lines))
    for axis, (name, title) in zip(axes, CURVES.items(), strict=True):
        for place, (family, method) in enumerate(groups):
            runs = [
                line[name] for line in lines if (line["family"], line["method"]) == (family, method) and name in line
            ]
            if not runs or (name.startswith("distill") and not np.any(runs)):
                continue
            smooth = np.array([np.convolve(run, np.ones(WINDOW) / WINDOW, "valid") for run in runs])
            steps, shade = np.arange(WINDOW, WINDOW + smooth.shape[1]), str(0.05 + 0.45 * (place % 2))
            style = ("-", "--", "-.", ":")[place % 4]
            axis.fill_between(steps, smooth.min(axis=0), smooth.max(axis=0), color=shade, alpha=0.15, linewidth=0)
            label = f"{method}, {family} ({len(runs)} seeds)"
            axis.plot(steps, smooth.mean(axis=0), style, color=shade, label=label)
        axis.set(title=title, xlabel="step")
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Read the runs, or the lines that are there, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--table", default="main")
    parser.add_argument("--methods", nargs="+", default=["grpo", "sgpo"])
    parser.add_argument("--output", type=Path, default=Path("docs/measured/study-curves.jsonl"))
    parser.add_argument("--lines-only-read", action="store_true", help="draw and print from the lines that are there")
    arguments = parser.parse_args()
    if arguments.lines_only_read:
        lines = [json.loads(line) for line in arguments.output.read_text(encoding="utf-8").splitlines()]
    else:
        lines = curves_of(arguments.study, arguments.table, arguments.methods)
        arguments.output.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    draw(lines, arguments.output.with_suffix(".png"))
    print("\n\n".join(table_of(lines, family) for family in dict.fromkeys(line["family"] for line in lines)))


if __name__ == "__main__":
    main()
