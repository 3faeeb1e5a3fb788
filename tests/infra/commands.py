"""Commands of infra/ read by the programs that they start, without starting them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

import typer
from typer.core import TyperGroup


class UnreadableCommand(ValueError):
    """A command that its program would refuse."""


def read_command(command: Sequence[str]) -> None:
    """Let the command's program read its options; UnreadableCommand when it would refuse them."""
    readers = {"prefect": _read_prefect, "mlflow": _read_mlflow, "/opt/training/bin/torchrun": _read_torchrun}
    program, *arguments = command
    if program not in readers:
        raise UnreadableCommand(f"{program}: not a program of these tests")
    readers[program](arguments)


def read_torchrun(arguments: Sequence[str]) -> Namespace:
    """torchrun's own reading; UnreadableCommand when it or `sgpo` would refuse the arguments."""
    from torch.distributed.run import get_args_parser

    try:
        parsed = get_args_parser().parse_args(list(arguments))
    except SystemExit as error:
        raise UnreadableCommand(f"torchrun {' '.join(arguments)}") from error
    if not parsed.module or parsed.training_script != "sgpo.cli":
        raise UnreadableCommand(f"torchrun starts {parsed.training_script} (expected the module sgpo.cli)")
    read_sgpo(parsed.training_script_args)
    return parsed


def read_sgpo(arguments: Sequence[str]) -> None:
    """Parse as `sgpo` would, running nothing; UnreadableCommand when it would not."""
    from sgpo.cli.main import app

    command, rest = typer.main.get_command(app), list(arguments)
    while isinstance(command, TyperGroup):
        if not rest or rest[0] not in command.commands:
            raise UnreadableCommand(f"sgpo has no command {rest[:1]}")
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        command.make_context("sgpo", rest)
    except Exception as error:
        raise UnreadableCommand(str(error)) from error


def _read_torchrun(arguments: Sequence[str]) -> None:
    read_torchrun(arguments)


def _read_prefect(arguments: Sequence[str]) -> None:
    from prefect.cli._app import _app

    try:
        _app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except Exception as error:
        raise UnreadableCommand(str(error)) from error


def _read_mlflow(arguments: Sequence[str]) -> None:
    from mlflow.cli import cli

    name, *options = arguments
    try:
        cli.commands[name].make_context(name, options)
    except Exception as error:
        raise UnreadableCommand(str(error)) from error
