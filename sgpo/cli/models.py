"""`sgpo model …`: model folders from other formats."""

from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(no_args_is_help=True, help="Convert models to model folders.")


@model_app.callback()
def _model() -> None:
    """Keep `convert` a command of the group, although it is the only one."""


@model_app.command("convert")
def model_convert(
    source: Annotated[Path, typer.Argument(help="GGUF file")],
    output: Annotated[Path, typer.Option(help="Folder that gets the model")],
    sha256: Annotated[str | None, typer.Option(help="Expected sha256 of the file, as hex")] = None,
) -> None:
    """Convert a GGUF file to a model folder: safetensors, tokenizer, chat template, generation config."""
    from sgpo.rollouts.gguf import convert_gguf

    found = convert_gguf(source, output, sha256)
    print(found.describe())
    print(f"{output}: {source.name}, converted and checked")
