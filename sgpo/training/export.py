"""A checkpoint of a run as a Hugging Face folder: of a run that was stopped, or of a step before it went wrong."""

import math
from pathlib import Path

from safetensors import safe_open

from sgpo.config import load_config
from sgpo.files import check_model_place
from sgpo.forecast import Forecast
from sgpo.rollouts.export import export_model
from sgpo.rollouts.model_folder import local_folder
from sgpo.training.checkpoints.checkpoint import CheckpointError, checkpoint_of_step, load_weights, newest_checkpoint
from sgpo.training.sharding import whole_weights
from sgpo.training.student import open_student
from sgpo.training.warmup import notes_of

_FLOAT32_BYTES = 4


def export_checkpoint(run_folder: Path, model_source: str | Path, output: Path, step: int | None = None) -> Path:
    """Export the weights after `step` optimiser steps, adapters merged; the newest checkpoint's without `step`.

    `model_source` is what the run began with: its configuration and tokenizer, and the weights that were not trained.
    However many processes wrote the checkpoint, this one reads it. Raises CheckpointError where there is no such
    checkpoint, it is damaged, or it is of another model, and PlaceError where `output` holds something else; returns
    `output`.
    """
    checkpoint = _find_checkpoint(run_folder, step)
    check_model_place(output)
    config, folder = load_config(run_folder / "config.yaml"), local_folder(model_source)
    policy, tokenizer, chat = open_student(config, folder, folder)
    load_weights(checkpoint, policy)
    export_model(policy.model, tokenizer, whole_weights(policy), output, chat.end_ids, notes_of(folder))
    return output


def forecast_export(run_folder: Path, model_source: str | Path, output: Path, step: int | None = None) -> Forecast:
    """Return which checkpoint `export_checkpoint` would export, and the bytes of the weights, by the model's headers.

    Raises CheckpointError where there is no such checkpoint or it is damaged.
    """
    checkpoint, folder = _find_checkpoint(run_folder, step), local_folder(model_source)
    check_model_place(output)
    size = sum(map(_elements, folder.glob("*.safetensors"))) * _FLOAT32_BYTES
    there = ", in the place of what is there" if output.exists() else ""
    says = f"{output}: the weights of {checkpoint}, {size:,} bytes in float32{there}"
    return Forecast(str(output), (says,), bytes=size)


def _find_checkpoint(run_folder: Path, step: int | None) -> Path:
    checkpoints = run_folder / "checkpoints"
    checkpoint = newest_checkpoint(checkpoints) if step is None else checkpoint_of_step(checkpoints, step)
    if checkpoint is None:
        raise CheckpointError(f"{checkpoints}: no whole checkpoint (expected those of a run)")
    return checkpoint


def _elements(file: Path) -> int:
    with safe_open(file, framework="pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
