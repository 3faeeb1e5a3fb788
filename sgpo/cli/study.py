"""`sgpo study`: a grid of methods, worlds and seeds, from one file to its tables."""

from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import AsJson, DryRun
from sgpo.cli.output import print_forecast, print_json, print_result, stdout_kept
from sgpo.forecast import Forecast


def add_study(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(study)


def study(
    file: Annotated[Path, typer.Argument(help="YAML file of the study, such as configs/studies/testbed.yaml")],
    table: Annotated[
        list[str] | None, typer.Option(help="Table to run; repeat for more; default: all, in the file's order")
    ] = None,
    dry_run: DryRun = False,
    at_once: Annotated[
        int | None, typer.Option(min=1, max=64, help="Cells to run at the same time; default: the file's")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the tables of the results to this page")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study's missing cells, with one line of results each; or write its page with --report."""
    from sgpo.study.cells import cells_of, load_study
    from sgpo.study.results import Results
    from sgpo.study.runs import StudyRunner

    settings = load_study(file)
    if at_once is not None:
        settings = settings.model_copy(update={"at_once": at_once})
    results = Results(settings.results)
    if report is not None:
        from sgpo.study.report import write_report

        write_report(settings, results, report, f"sgpo study {file} --report {report}")
        lines = len(results.rows)
        print_result({"page": report, "lines": lines}, lambda: f"{report}: {lines} lines", as_json)
        return
    runner = StudyRunner(settings, results)
    cells = cells_of(settings, tuple(table or ()))
    missing = runner.missing(cells)
    done = f"{len(cells) - len(missing)} of {len(cells)} cells are done"
    if dry_run:
        left = Forecast(str(settings.results), (done,), parts=tuple(cell.name for cell in missing))
        print_forecast(lambda: left, as_json)
        return
    with stdout_kept(as_json):
        print(done)
        runner.run(cells)
    if as_json:
        asked = {cell.name for cell in cells}
        print_json([row.as_row() for row in results.rows if row.cell in asked])
