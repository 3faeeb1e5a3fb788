"""Options that commands of several files have in common."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from sgpo.config.base import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

Params = Annotated[Path, typer.Option(help="Settings of the data stages")]
Data = Annotated[Path, typer.Option(help="Folder of the versioned data")]
Work = Annotated[Path, typer.Option(help="Folder for journals and checkpoints of unfinished stages")]

Config = Annotated[Path | None, typer.Option(help="Run recipe, such as configs/testbed.yaml")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings such as training.steps=100")]
Model = Annotated[str, typer.Option(help="Model folder or hub id")]
Run = Annotated[Path, typer.Option(help="Run directory")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how much; write nothing")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]

COLUMNS = 150
"""Width of a table where the output goes elsewhere than to a terminal."""

PARAMS, DATA, WORK = Path("params.yaml"), Path("data"), Path(".sgpo/work")


def console() -> "Console":
    """Return the terminal, or what stands for it as wide as COLUMNS; rich leaves colours out where NO_COLOR is set."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=COLUMNS)


def key_values(arguments: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` arguments as a mapping, values read as YAML. Raises ConfigError for any other."""
    found: dict[str, Any] = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            separator = ""
            value = None
        if not key or not separator:
            raise ConfigError(f"'{argument}': expected key=value, such as n_people=3")
        found[key] = value
    return found
