"""`sgpo model …`: model folders from other formats, and from the checkpoints of a run."""

from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import AsJson, DryRun
from sgpo.cli.output import print_forecast, print_json, print_result, stdout_kept

model_app = typer.Typer(no_args_is_help=True, help="Convert models to model folders.")


@model_app.command("convert")
def model_convert(
    source: Annotated[Path, typer.Argument(help="GGUF file")],
    output: Annotated[Path, typer.Option(help="Folder that gets the model")],
    sha256: Annotated[str | None, typer.Option(help="Expected sha256 of the file, as hex")] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Convert a GGUF file to a model folder: safetensors, tokenizer, chat template, generation config."""
    from sgpo.rollouts.gguf import convert_gguf, forecast_conversion

    if dry_run:
        print_forecast(lambda: forecast_conversion(source, output, sha256), as_json)
        return
    with stdout_kept(as_json):
        found = convert_gguf(source, output, sha256)
        print(found.describe())
        print(f"{output}: {source.name}, converted and checked")
    if as_json:
        size = {"parameters": found.parameters, "positions": found.positions}
        print_json({"folder": output, "architecture": found.architecture, **size})


@model_app.command("export")
def model_export(
    run: Annotated[Path, typer.Argument(help="Run directory")],
    model: Annotated[str, typer.Option(help="What the run began with: folder or hub id (after a warm-up, its model)")],
    output: Annotated[Path, typer.Option(help="Folder that gets the model")],
    step: Annotated[int | None, typer.Option(min=1, help="Step of the checkpoint; default: the newest one")] = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Export a checkpoint as a Hugging Face folder, adapters merged, without going on with the run."""
    from sgpo.training.export import export_checkpoint, forecast_export

    if dry_run:
        print_forecast(lambda: forecast_export(run, model, output, step), as_json)
        return
    with stdout_kept(as_json):
        exported = export_checkpoint(run, model, output, step)
    print_result({"folder": exported}, lambda: f"{exported}: exported", as_json)
