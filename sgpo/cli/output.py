"""What commands print: lines for a person, or one JSON document, with nothing else on stdout, for a program."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from sgpo.forecast import Forecast

STDERR = 2
"""The file descriptor for the output of a process that a command starts, where stdout is for its JSON alone."""


def print_json(value: Any) -> None:
    """Print a value, which may have records and paths in it, as JSON; what is no finite number becomes null."""
    print(to_json(value, indent=2, inf_nan_mode="null").decode())


def print_result(value: Any, text: Callable[[], str], as_json: bool) -> None:
    """Print what a command has found or made: the value as JSON, or the text for a person, made only if it is shown."""
    if as_json:
        print_json(value)
    else:
        print(text())


def print_json_file(path: Path) -> None:
    """Print a JSON file that the command has written."""
    print_json(json.loads(path.read_text(encoding="utf-8")))


def print_forecast(find_out: Callable[[], Forecast], as_json: bool) -> None:
    """Print what `--dry-run` finds out."""
    with stdout_kept(as_json):
        forecast = find_out()
    print_result(forecast.as_dict(), lambda: "\n".join(forecast.lines()), as_json)


def stdout_kept(as_json: bool) -> AbstractContextManager[Any]:
    """Send to stderr what is printed while a command works, where stdout is for its JSON alone."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()
