"""Tables and figures of a study's results: means over seeds with intervals, and paired tests against one method."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy import stats

from sgpo.config.study import StudyConfig
from sgpo.files import publish_file
from sgpo.study.results import Result, Results

CONFIDENCE = 0.95
MILLION = 1e6


def write_report(study: StudyConfig, results: Results, page: Path, command: str) -> None:
    """Write one Markdown page of tables, and beside it a figure for each table that has results."""
    lines = ["# Study: results", f"Made by `{command}` from {study.results}. What it shows: docs/study.md.", ""]
    for name, table in study.tables.items():
        for k in table.k:
            rows = results.of(name, (k,))
            if rows:
                lines += [
                    f"## {name}, avg@{k} on {table.split.replace('_', '-')} problems",
                    *_table(rows, table.against),
                ]
                picture = page.with_name(f"{page.stem}-{name}-{k}.png")
                draw(rows, f"{name}: avg@{k}, {CONFIDENCE:.0%} interval over seeds", picture)
                lines += ["", f"![{name}]({picture.name})", ""]
    with publish_file(page) as aside:
        aside.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's interval of the mean over seeds; None of fewer than two."""
    if len(values) < 2:
        return None
    error = float(stats.sem(values))
    if error == 0.0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=float(np.mean(values)), scale=error)
    return float(low), float(high)


def paired(rows: Sequence[Result], others: Sequence[Result]) -> tuple[float, float | None] | None:
    """Return (mean difference, p of the paired t-test) over the seeds that both have; p is None of fewer than two."""
    other_of = {row.seed: row.avg for row in others}
    pairs = [(row.avg, other_of[row.seed]) for row in rows if row.seed in other_of]
    if not pairs:
        return None
    ours, theirs = np.array(pairs).T
    differences = ours - theirs
    if len(pairs) < 2 or np.ptp(differences) == 0.0:
        return float(differences.mean()), None
    return float(differences.mean()), float(stats.ttest_rel(ours, theirs).pvalue)


def _groups(rows: Sequence[Result]) -> dict[tuple[str, str, str, str], list[Result]]:
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.world, row.family, row.variant, row.method), []).append(row)
    return groups


def _table(rows: Sequence[Result], against: str | None) -> list[str]:
    groups = _groups(rows)
    tiers = sorted({tier for row in rows for tier in row.per_tier})
    columns = [
        "world", "family", "variant", "method", "rate", "seeds", "avg, per cent", f"{CONFIDENCE:.0%} interval", "pass",
        *(f"tier {tier}" for tier in tiers), f"against {against}, points", "p", "guided pass", "avg per M tokens",
        "tokens, M", "seconds",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (world, family, variant, method), group in groups.items():
        values = [row.avg for row in group]
        found = interval(values)
        reference = groups.get((world, family, variant, against)) if against and against != method else None
        test = paired(group, reference) if reference else None
        tokens, guided = fmean([row.tokens for row in group]) / MILLION, [row.guided_pass for row in group]
        known = [value for value in guided if value is not None]
        rates = sorted({row.learning_rate for row in group if row.learning_rate is not None})
        cells = [
            world, family, variant or "-", method, ", ".join(f"{rate:g}" for rate in rates) or "-", str(len(group)),
            f"{100 * fmean(values):.1f}", f"{100 * found[0]:.1f} to {100 * found[1]:.1f}" if found else "-",
            f"{100 * fmean([row.pass_ for row in group]):.1f}",
            *(f"{100 * fmean([row.per_tier.get(tier, float('nan')) for row in group]):.1f}" for tier in tiers),
            f"{100 * test[0]:+.1f}" if test else "-", f"{test[1]:.3f}" if test and test[1] is not None else "-",
            f"{100 * fmean(known):.0f}" if known else "-", f"{100 * fmean(values) / tokens:.1f}" if tokens else "-",
            f"{tokens:.2f}", f"{fmean([row.seconds for row in group]):.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(rows: Sequence[Result], title: str, path: Path) -> None:
    """Draw bars of each method's mean over seeds, told apart by hatching so that grey print shows them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = _groups(rows)
    places = list(dict.fromkeys(key[:3] for key in groups))
    methods = list(dict.fromkeys(key[3] for key in groups))
    hatches, width = ("", "//", "..", "xx", "\\\\", "oo", "--", "++"), 0.8 / len(methods)
    figure, axis = plt.subplots(figsize=(max(6.0, 1.2 * len(groups)), 4.5), layout="constrained")
    for number, method in enumerate(methods):
        for place, key in enumerate(places):
            group = groups.get((*key, method))
            if not group:
                continue
            values = [row.avg for row in group]
            found = interval(values)
            mean = 100 * fmean(values)
            axis.bar(
                place + (number + 0.5) * width - 0.4, mean, width, color=str(0.9 - 0.7 * number / len(methods)),
                edgecolor="black", hatch=hatches[number % len(hatches)], label=method if place == 0 else None,
                yerr=[[mean - 100 * found[0]], [100 * found[1] - mean]] if found else None, capsize=3,
            )  # fmt: skip
    axis.set_xticks(range(len(places)), ["\n".join(part for part in key if part) for key in places])
    axis.set(title=title, ylabel="per cent right", ylim=(0.0, None))
    axis.legend(frameon=False)
    with publish_file(path) as aside:
        figure.savefig(aside, dpi=110, format="png")
    plt.close(figure)
