"""Options that commands of several files have in common."""

from pathlib import Path
from typing import Annotated

import typer

Params = Annotated[Path, typer.Option(help="Settings of the data stages")]
Data = Annotated[Path, typer.Option(help="Folder of the versioned data")]
Work = Annotated[Path, typer.Option(help="Folder for journals and checkpoints of unfinished stages")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how much; write nothing")]

PARAMS, DATA, WORK = Path("params.yaml"), Path("data"), Path(".sgpo/work")
