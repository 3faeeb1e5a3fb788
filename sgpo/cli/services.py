"""`sgpo up`, `sgpo down` and `sgpo status`: the local services, which flows/local starts in a process of its own."""

import subprocess
import sys

import typer

_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_services(app: typer.Typer) -> None:
    """Add the commands; their options and `--help` are those of `python -m flows.local`."""
    for name, what in (
        ("up", "Start Prefect server, MLflow server, worker, and webhook receiver."),
        ("down", "Stop what `sgpo up` has started, and nothing else."),
        ("status", "Show what `sgpo up` has started here, and whether it still runs."),
    ):
        app.command(name, help=what, context_settings=_AS_GIVEN)(_start)


def _start(context: typer.Context) -> None:
    command = [sys.executable, "-m", "flows.local", str(context.info_name), *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
