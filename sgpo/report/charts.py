"""Charts as SVG that takes its colours from the page, and the picture that flows show."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgpo.evaluation.comparison import Comparison
from sgpo.report.panels import PANELS, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of Okabe and Ito, told apart without colour vision too; lines differ in their dashes beside.
_INK, _GRID, _LINES = "#010203", "#040506", ("#0072b2", "#d55e00")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)))
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--grid)", _LINES[0]: "var(--line-1)", _LINES[1]: "var(--line-2)"}
_FONT = re.compile(r"(font: [^;'\"]*?)'[^;\"]*(?=[;\"])")


def draw_panel(panel: Panel, rows: list[dict[str, Any]]) -> str | None:
    """Return the chart of a panel as an SVG element; None where nothing of it is logged."""
    if not any(series.points(rows) for series in panel.series):
        return None
    figure, axes = _figure(3.9, 2.1)
    _draw_series(axes, panel, rows)
    return _svg(figure, panel.name, panel.title)


def draw_gains(comparison: Comparison) -> str:
    """Return champion against challenger as an SVG element: the gain of each tier with its interval, in points."""
    rows = comparison.rows()
    figure, axes = _figure(5.2, 0.7 + 0.34 * len(rows))
    for place, (_, gain) in enumerate(reversed(rows)):
        low, value, high = (100 * getattr(gain.difference, name) for name in ("low", "value", "high"))
        axes.plot([low, high], [place, place], color=_LINES[0], linewidth=2, solid_capstyle="butt")
        axes.plot([value], [place], marker="o", color=_LINES[0], markersize=6)
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], parse_math=False)  # a name may have a $
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("challenger minus champion, points")
    return _svg(figure, "gains", "Gain of the challenger over the champion, with intervals")


def draw_seconds(seconds: Sequence[tuple[str, float]], name: str, title: str) -> str:
    """Return seconds by what they were spent on as an SVG element, the first one on top."""
    figure, axes = _figure(5.2, 0.7 + 0.3 * len(seconds))
    labels, values = [label for label, _ in reversed(seconds)], [value for _, value in reversed(seconds)]
    bars = axes.barh(range(len(values)), values, color=_LINES[0], height=0.62)
    axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8.5, color=_INK)
    axes.set_yticks(range(len(values)), labels, parse_math=False)
    axes.margins(x=0.14)
    axes.set_xlabel("seconds")
    return _svg(figure, name, title)


def draw_picture(rows: list[dict[str, Any]], comparison: Comparison, path: Path) -> None:
    """Write three of the panels, and champion against challenger, as a PNG: what Prefect and MLflow show."""
    figure, axes = _figure(11, 7, 2, 2, "#d0d0d0")
    shown = [panel for panel in PANELS if panel.name in ("rewards", "alpha", "masked")]
    for panel, one in zip(shown, axes.flat, strict=False):
        _draw_series(one, panel, rows)
        one.set_title(panel.title)
    _draw_comparison(axes[1][1], comparison)
    figure.savefig(path, dpi=110, facecolor="white")


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, grid: str = _GRID) -> tuple["Figure", Any]:
    """Return a figure of its own, known to no window system, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Any = figure.subplots(rows, columns)
    for one in (axes,) if rows * columns == 1 else axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(grid)
        one.tick_params(colors=_INK, labelsize=8.5, length=0)
        one.grid(color=grid, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _draw_series(axes: "Axes", panel: Panel, rows: list[dict[str, Any]]) -> None:
    for place, series in enumerate(panel.series):
        points = series.points(rows)
        if not points:
            continue
        color, (steps, values) = _LINES[place], zip(*points, strict=True)
        marker = "o" if len(points) < 12 else None
        axes.plot(
            steps, values, label=series.label, color=color, linewidth=1.7, linestyle=_DASHES[place], marker=marker,
            markersize=3.5,
        )  # fmt: skip
        band = [[row[end] for row in rows if end in row] for end in (series.low, series.high) if end]
        if band and all(len(end) == len(points) for end in band):
            axes.fill_between(steps, band[0], band[-1], color=color, alpha=0.18, linewidth=0)
    if not axes.lines:  # a run in which no problem had both groups right has no distillation to draw
        axes.text(0.5, 0.5, "nothing logged", ha="center", va="center", transform=axes.transAxes)
    elif len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=_INK, loc="best")
    top = axes.dataLim.y1  # room above it, whatever the lowest value: a level curve lay half outside
    axes.set_ylim(0.0, 1.06 * top if 0.0 < top < math.inf else None)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("step", fontsize=8.5, color=_INK)
    axes.set_ylabel(panel.unit, fontsize=8.5, color=_INK)


def _draw_comparison(axes: "Axes", comparison: Comparison) -> None:
    rows = comparison.rows()
    for shift, who, color in ((-0.2, "champion", _LINES[1]), (0.2, "challenger", _LINES[0])):
        heights = [100 * getattr(gain, who) for _, gain in rows]
        axes.bar([place + shift for place in range(len(rows))], heights, 0.4, label=who, color=color)
    for place, (_, gain) in enumerate(rows):
        ends = gain.difference.value - gain.difference.low, gain.difference.high - gain.difference.value
        axes.errorbar(
            place + 0.2, 100 * gain.challenger, yerr=[[100 * end] for end in ends], color="black", capsize=3,
            linewidth=1,
        )  # fmt: skip
    axes.set_xticks(range(len(rows)), [name.replace(" ", "\n") for name, _ in rows], parse_math=False)
    axes.set_title(
        f"avg@{comparison.k or 'k'} on held-out problems (%), {comparison.confidence:.0%} interval of the gain"
    )
    axes.margins(y=0.15)
    axes.legend(frameon=False, ncols=2, loc="upper left")


def _svg(figure: "Figure", name: str, title: str) -> str:
    """Return the figure as an element with ids of its own, the page's font and the page's colours."""
    import matplotlib

    for axes in figure.axes:
        axes.xaxis.label.set(color=_INK, fontsize=8.5)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = _FONT.sub(r"\1var(--font)", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size is not None
    return re.sub(r"<svg[^>]*>", f'<svg {size[0]} role="img" aria-label="{title}">', svg, count=1)
