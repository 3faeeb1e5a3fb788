"""`sgpo up`, `down`, `status`, `retrain` and `follow`: what needs Prefect, done by flows/ in a process."""

import os
import subprocess
import sys

import typer

_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_services(app: typer.Typer) -> None:
    """Add the commands; their options and `--help` are those of `flows.local` and `flows.follow`."""
    for name, what in (
        ("up", "Start Prefect server, MLflow server, worker and webhook receiver."),
        ("down", "Stop what `sgpo up` started, and nothing else."),
        ("status", "Show what `sgpo up` started here, and whether it still runs."),
    ):
        app.command(name, help=what, context_settings=_AS_GIVEN)(_start)
    for name, what in (
        ("retrain", "Start a retraining on the server of `sgpo up`; --follow shows it until the decision."),
        ("follow", "Follow a retraining until the decision; Ctrl-C stops following, not the retraining."),
    ):
        app.command(name, help=what, context_settings=_AS_GIVEN)(_become)


def _start(context: typer.Context) -> None:
    command = [sys.executable, "-m", "flows.local", str(context.info_name), *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def _become(context: typer.Context) -> None:
    """Let flows.follow take this process's place: Ctrl-C is for it alone."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "flows.follow", str(context.info_name), *context.args])
