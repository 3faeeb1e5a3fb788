"""`sgpo up`, `down`, `status`, `retrain` and `follow`: what needs Prefect, done by flows/ in a process."""

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class PassedOn(TyperCommand):
    """A command that a module of flows/ reads the arguments of; a shell completes those too."""

    module = ""

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Return what the module's own command completes."""
        commands = typer.main.get_command(import_module(self.module).app)
        assert isinstance(commands, TyperGroup)
        command = commands.commands[str(self.name)]
        return command.shell_complete(type(ctx)(command, info_name=self.name), incomplete)


class OfServices(PassedOn):
    """`up`, `down` and `status`."""

    module = "flows.local.__main__"


class OfRetrainings(PassedOn):
    """`retrain` and `follow`."""

    module = "flows.follow"


def add_services(app: typer.Typer) -> None:
    """Add the commands; their options and `--help` are those of `flows.local` and `flows.follow`."""
    for name, what in (
        ("up", "Start Prefect server, MLflow server, worker and webhook receiver."),
        ("down", "Stop what `sgpo up` started, and nothing else."),
        ("status", "Show what `sgpo up` started here, and whether it still runs."),
    ):
        app.command(name, cls=OfServices, help=what, context_settings=_AS_GIVEN)(_start)
    for name, what in (
        ("retrain", "Start a retraining on the server of `sgpo up`; --follow shows it until the decision."),
        ("follow", "Follow a retraining until the decision; Ctrl-C stops following, not the retraining."),
    ):
        app.command(name, cls=OfRetrainings, help=what, context_settings=_AS_GIVEN)(_become)


def _start(context: typer.Context) -> None:
    command = [sys.executable, "-m", "flows.local", str(context.info_name), *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def _become(context: typer.Context) -> None:
    """Let flows.follow take this process's place: Ctrl-C is for it alone."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "flows.follow", str(context.info_name), *context.args])
