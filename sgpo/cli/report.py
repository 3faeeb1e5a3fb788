"""`sgpo report`: a run as one page."""

from pathlib import Path
from typing import Annotated

import typer


def add_report(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @app.command()
    def report(
        run: Annotated[Path, typer.Argument(help="Run directory, such as runs/demo-001")],
        output: Annotated[
            Path | None, typer.Option(help="HTML file; default: report/report.html in the run directory")
        ] = None,
    ) -> None:
        """Write a run's report, one HTML file that loads nothing."""
        from sgpo.report.page import write_report

        output = output or run / "report" / "report.html"
        for note in write_report(run, output):
            print(note)
        print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")
