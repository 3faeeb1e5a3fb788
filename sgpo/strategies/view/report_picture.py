"""The picture of a bank's quality report: bands, scores, criteria, refusals and families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgpo.strategies.bank import HIGH, MEDIUM
from sgpo.strategies.view.report import BANDS, LARGEST_FAMILIES, PAPER, BankReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"high": "#2a7f62", "medium": "#e0a33a", "low": "#c2513f"}
_PLAIN = "#4f6d8f"
_LABELLED = 3.0  # per cent from which a share has room for its number
_LABEL = 44  # characters of a family's name


def draw_picture(report: BankReport, path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = plt.figure(figsize=(12, 10), layout="constrained")
        figure.suptitle(f"{len(report.scores)} strategies of {report.source}", fontsize=13, parse_math=False)
        # Each row is a figure of its own, so that the long names of one do not narrow the others.
        rows: Any = figure.subfigures(3, 1, height_ratios=(1.0, 1.4, 2.0))
        top, middle, bottom = rows
        _draw_bands(top.subplots(), report)
        left, right = middle.subplots(1, 2)
        _draw_scores(left, report)
        _draw_bars(right, [(name.replace("_", " "), mean) for name, mean in report.criteria.items()], "{:.2f}")
        right.set(title="Mean score by criterion", xlim=(0, 1.1), xticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
        left, right = bottom.subplots(1, 2)
        refused = [(f"{count.reason} ({count.stage})", count.count) for count in (*report.refusals, *report.unserved)]
        _draw_bars(left, refused, "{:.0f}")
        left.set(title="Refused texts by reason (stage)")
        largest = [(_named(family.approach), len(family.members)) for family in report.families[:LARGEST_FAMILIES]]
        _draw_bars(right, largest, "{:.0f}")
        right.set(title=f"The {len(largest)} largest of {len(report.families)} families: problems")
        figure.savefig(path, format="png", dpi=110)
        plt.close(figure)


def _draw_bands(axis: Axes, report: BankReport) -> None:
    rows = [("paper", PAPER), ("this bank", report.bands)]
    for place, (_, shares) in enumerate(rows):
        start = 0.0
        for band in BANDS:
            share = 100 * getattr(shares, band)
            axis.barh(place, share, left=start, color=COLOURS[band], label=band if place == 0 else None)
            if share >= _LABELLED:
                axis.text(start + share / 2, place, f"{share:.1f}", ha="center", va="center", color="white")
            elif band == "low":
                axis.text(100.5, place, f"{share:.1f}", va="center", color=COLOURS[band])
            start += share
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set(title="Quality bands, % of strategies", xlim=(0, 100))
    axis.legend(
        frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12),
        labels=[f"high, from {HIGH}", f"medium, from {MEDIUM}", "low"],
    )  # fmt: skip


def _draw_scores(axis: Axes, report: BankReport) -> None:
    import numpy as np

    edges = np.linspace(0.0, 1.0, 41)
    counts, _ = np.histogram(report.scores, bins=edges)
    colours = [COLOURS["high" if left >= HIGH - 1e-9 else "medium" if left >= MEDIUM - 1e-9 else "low"]
               for left in edges[:-1]]  # fmt: skip
    axis.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=colours, edgecolor="white", linewidth=0.5)
    axis.set(title="Scores", xlabel="score", ylabel="strategies", xlim=(0, 1))


def _draw_bars(axis: Any, rows: Sequence[tuple[str, float]], form: str) -> None:
    """Horizontal bars with their names and values, the first at the top."""
    if not rows:
        axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    places = range(len(rows))
    bars = axis.barh(places, [value for _, value in rows], color=_PLAIN, height=0.7)
    axis.bar_label(bars, [form.format(value) for _, value in rows], padding=3)
    axis.set_yticks(places, [name for name, _ in rows], parse_math=False)
    axis.set_ylim(max(len(rows), 4) - 0.4, -0.6)
    axis.margins(x=0.12)


def _named(approach: str) -> str:
    """Return an approach short enough for a label."""
    text = " ".join(approach.split())
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
