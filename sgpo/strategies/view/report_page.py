"""The quality report of a bank as files: one page and one picture."""

from pathlib import Path

from sgpo.files import publish_file
from sgpo.strategies.view.report import BANDS, LARGEST_FAMILIES, PAPER, BankReport
from sgpo.strategies.view.report_picture import draw_picture


def write_report(report: BankReport, folder: Path) -> tuple[Path, Path]:
    """Write `report.html` (one page that needs no other file) and `report.png` into `folder`; returns their paths."""
    page, picture = folder / "report.html", folder / "report.png"
    with publish_file(page) as aside:
        aside.write_text(render_page(report), encoding="utf-8")
    with publish_file(picture) as aside:
        draw_picture(report, aside)
    return page, picture


def render_page(report: BankReport) -> str:
    """Return the report as HTML; all texts are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sgpo.strategies.view", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        report=report, paper=PAPER, band_names=BANDS, largest=report.families[:LARGEST_FAMILIES]
    )
