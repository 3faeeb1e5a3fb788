"""`sgpo check`: check everything that a run will need, before anything is spent on it."""

from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import PARAMS, AsJson, console
from sgpo.cli.output import stdout_kept


def add_checking(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(check)


def check(
    model: Annotated[str, typer.Option(help="Model folder or hub id, such as data/champion")],
    config: Annotated[Path | None, typer.Option(help="Run recipe, such as configs/testbed.yaml")] = None,
    params: Annotated[
        Path, typer.Option(help="Settings of the data stages; skipped if there is no such file")
    ] = PARAMS,
    as_json: AsJson = False,
    sampling: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Sample a few answers, and compare engine and trainer")
    ] = True,
    answers: Annotated[bool, typer.Option("--answers/--no-answers", help="Show the sampled answers")] = True,
    output: Annotated[Path | None, typer.Option(help="Also write findings and samples to this file, as JSON")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings such as training.steps=100")] = None,
) -> None:
    """Check model, data, teacher, engine, servers and machine, and sample a few answers. Exit code 1: it would fail."""
    from sgpo.checks import check as check_all
    from sgpo.checks.table import show_findings, show_samples
    from sgpo.config import load_config
    from sgpo.config.pipeline import load_params
    from sgpo.files import publish_file

    settings = load_config(config, overrides or ())
    with stdout_kept(as_json):
        checked = check_all(settings, model, load_params(params) if params.is_file() else None, sampling=sampling)
    if output is not None:
        with publish_file(output) as aside:
            aside.write_text(checked.as_json(), encoding="utf-8")
    if as_json:
        print(checked.as_json())
    else:
        terminal = console()
        if answers and checked.samples is not None:
            show_samples(checked.samples, terminal)
            terminal.print()
        show_findings(checked, terminal)
    raise typer.Exit(checked.exit_code)
