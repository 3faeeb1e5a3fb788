"""Tables and figures of a study's results: means over seeds with intervals, and paired tests against one method."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from scipy import stats

from sgpo.config.study import OWN, StudyConfig, StudyTable
from sgpo.files import publish_file
from sgpo.study.results import Result, Results

CONFIDENCE = 0.95
MILLION = 1e6
LABEL_WIDTH = 16
"""Letters that a group of bars is wide."""

Groups = Mapping[tuple[str, str, str, str], Sequence[Result]]
"""Lines by world, family, variant and method."""


class Paired(NamedTuple):
    """A mean difference over seeds; p and the interval of the paired t-test are None of fewer than two seeds."""

    difference: float
    p: float | None
    interval: tuple[float, float] | None


def write_report(study: StudyConfig, results: Results, page: Path, command: str) -> None:
    """Write one Markdown page of tables, and beside it a figure for each table that has results."""
    lines = ["# Study: results", f"Made by `{command}` from {study.results}. What it shows: docs/study.md.", ""]
    for name, table in study.tables.items():
        for benchmark in (OWN, *table.benchmarks):
            for k in table.k:
                if not (rows := in_order(results.of(name, (k,), benchmark), table)):
                    continue
                where = f"{table.split.replace('_', '-')} problems" if benchmark == OWN else benchmark
                lines += [f"## {name}, avg@{k} on {where}", *_table(rows, table.against)]
                label = name if benchmark == OWN else f"{name}-{benchmark}"
                picture = page.with_name(f"{page.stem}-{label}-{k}.png")
                draw(rows, f"{label}: avg@{k}, {CONFIDENCE:.0%} interval over seeds", picture)
                lines += ["", f"![{label}]({picture.name})", ""]
    with publish_file(page) as aside:
        aside.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def in_order(rows: Iterable[Result], table: StudyTable) -> list[Result]:
    """Return the rows in the table's order of worlds, families, variants and methods, whenever they were measured."""
    names = (table.worlds, table.families, tuple(table.variants), table.methods)

    def place(row: Result) -> list[int]:
        of_row = (row.world, row.family, row.variant, row.method)
        return [listed.index(one) if one in listed else len(listed) for listed, one in zip(names, of_row, strict=True)]

    return sorted(rows, key=place)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's interval of the mean over seeds; None of fewer than two."""
    if len(values) < 2:
        return None
    error = float(stats.sem(values))
    if error == 0.0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=float(np.mean(values)), scale=error)
    return float(low), float(high)


def paired(rows: Sequence[Result], others: Sequence[Result]) -> Paired | None:
    """Return the mean difference over the seeds that both have, by the paired t-test; None where they share none."""
    other_of = {row.seed: row.avg for row in others}
    pairs = [(row.avg, other_of[row.seed]) for row in rows if row.seed in other_of]
    if not pairs:
        return None
    ours, theirs = np.array(pairs).T
    differences = ours - theirs
    if len(pairs) < 2 or np.ptp(differences) == 0.0:
        return Paired(float(differences.mean()), None, None)
    test = stats.ttest_rel(ours, theirs)
    between = test.confidence_interval(CONFIDENCE)
    return Paired(float(differences.mean()), float(test.pvalue), (float(between.low), float(between.high)))


def _groups(rows: Sequence[Result]) -> dict[tuple[str, str, str, str], list[Result]]:
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.world, row.family, row.variant, row.method), []).append(row)
    return groups


def _table(rows: Sequence[Result], against: Sequence[str]) -> list[str]:
    groups = _groups(rows)
    tiers = sorted({tier for row in rows for tier in row.per_tier})
    lenient = any(row.lenient is not None for row in rows)
    columns = [
        "world", "family", "variant", "method", "rate", "seeds", "avg, per cent", f"{CONFIDENCE:.0%} interval",
        *(["lenient"] if lenient else []), "pass", *(f"tier {tier.removeprefix('tier ')}" for tier in tiers),
        *(text for other in against for text in (f"against {other}, points", f"{CONFIDENCE:.0%} interval", "p")),
        "guided pass", "avg per M tokens", "tokens, M", "seconds",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (world, family, variant, method), group in groups.items():
        values = [row.avg for row in group]
        found = interval(values)
        tokens, guided = fmean([row.tokens for row in group]) / MILLION, [row.guided_pass for row in group]
        known = [value for value in guided if value is not None]
        rates = sorted({row.learning_rate for row in group if row.learning_rate is not None})
        cells = [
            world, family, variant or "-", method, ", ".join(f"{rate:g}" for rate in rates) or "-", str(len(group)),
            f"{100 * fmean(values):.1f}", f"{100 * found[0]:.1f} to {100 * found[1]:.1f}" if found else "-",
            *([_lenient(group)] if lenient else []), f"{100 * fmean([row.pass_ for row in group]):.1f}",
            *(f"{100 * fmean([row.per_tier.get(tier, float('nan')) for row in group]):.1f}" for tier in tiers),
            *(text for other in against for text in _against(groups, (world, family, variant), method, other)),
            f"{100 * fmean(known):.0f}" if known else "-", f"{100 * fmean(values) / tokens:.1f}" if tokens else "-",
            f"{tokens:.2f}", f"{fmean([row.seconds for row in group]):.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _lenient(group: Sequence[Result]) -> str:
    known = [row.lenient for row in group if row.lenient is not None]
    return f"{100 * fmean(known):.1f}" if len(known) == len(group) else "-"


def _against(groups: Groups, place: tuple[str, str, str], method: str, other: str) -> tuple[str, str, str]:
    """Return the difference of two methods in points, its interval and its p; `-` for what is not known."""
    reference = groups.get((*place, other)) if other != method else None
    test = paired(groups[(*place, method)], reference) if reference else None
    if test is None:
        return "-", "-", "-"
    between = f"{100 * test.interval[0]:+.1f} to {100 * test.interval[1]:+.1f}" if test.interval else "-"
    return f"{100 * test.difference:+.1f}", between, "-" if test.p is None else f"{test.p:.3f}"


def label_of(parts: Sequence[str]) -> str:
    """Return what stands under a group of bars, in lines that fit its width."""
    return "\n".join(line for part in parts for line in wrap(part, LABEL_WIDTH, break_long_words=False))


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
        drawn = [place for place, key in enumerate(places) if groups.get((*key, method))]
        for place in drawn:
            values = [row.avg for row in groups[(*places[place], method)]]
            found = interval(values)
            mean = 100 * fmean(values)
            axis.bar(
                place + (number + 0.5) * width - 0.4, mean, width, color=str(0.9 - 0.7 * number / len(methods)),
                edgecolor="black", hatch=hatches[number % len(hatches)], label=method if place == drawn[0] else None,
                yerr=[[mean - 100 * found[0]], [100 * found[1] - mean]] if found else None, capsize=3,
            )  # fmt: skip
    axis.set_xticks(range(len(places)), [label_of(key) for key in places])
    axis.set(title=title, ylabel="per cent right", ylim=(0.0, None))
    figure.legend(loc="outside lower center", ncols=min(len(methods), 4), frameon=False)  # never over a bar
    with publish_file(path) as aside:
        figure.savefig(aside, dpi=110, format="png")
    plt.close(figure)
