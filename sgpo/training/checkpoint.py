"""Checkpoints: everything to go on exactly, written aside and published by one rename, with checksums.

A checkpoint is a folder `step-000040` with model.safetensors, optimizer.safetensors, state.json and manifest.json
(sha256 of the others, written last). One that does not match its manifest is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from sgpo.files import publish_folder, write_json
from sgpo.training.distributed import World
from sgpo.training.policy import Policy

MANIFEST = "manifest.json"
SEPARATOR = "/"
Optimizers = tuple[torch.optim.Optimizer, ...]


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged or belongs to another configuration."""


def save_checkpoint(
    folder: Path, policy: Policy, optimizers: Optimizers, state: dict[str, Any], keep: int, world: World
) -> Path:
    """Save under `folder`/step-N where N is state["step"], and delete all but the newest `keep`.

    Every process calls this; the first one writes.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(policy, options=options)
    moments: dict[str, Any] = get_optimizer_state_dict(policy, optimizers, options=options)
    target = folder / f"step-{state['step']:06d}"
    if world.is_main:
        tensors = {
            f"{parameter}{SEPARATOR}{name}": value
            for parameter, values in moments["state"].items()
            for name, value in values.items()
        }
        with publish_folder(target) as aside:
            save_file(_unshared(weights), aside / "model.safetensors")
            save_file(_unshared(tensors), aside / "optimizer.safetensors")
            write_json(aside / "state.json", {**state, "optimizer_groups": moments["param_groups"]})
            write_json(aside / MANIFEST, {file.name: file_sha256(file) for file in sorted(aside.iterdir())})
        for old in _steps(folder)[:-keep]:
            shutil.rmtree(old)
    world.barrier()
    return target


def load_checkpoint(folder: Path, policy: Policy, optimizers: Optimizers) -> dict[str, Any] | None:
    """Load the newest whole checkpoint under `folder` into policy and optimiser; None when there is none.

    A damaged one is passed over with a message, and the one before it is taken.
    """
    newest = newest_checkpoint(folder)
    if newest is None:
        return None
    state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(policy, dict(load_file(newest / "model.safetensors")), options=options)
    per_parameter: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in load_file(newest / "optimizer.safetensors").items():
        parameter, _, key = name.rpartition(SEPARATOR)
        per_parameter.setdefault(parameter, {})[key] = value
    moments: dict[str, Any] = {"state": per_parameter, "param_groups": state.pop("optimizer_groups")}
    set_optimizer_state_dict(policy, optimizers, moments, options=options)
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint under `folder` whose files match its manifest."""
    for candidate in reversed(_steps(folder)):
        try:
            verify_checkpoint(candidate)
            return candidate
        except CheckpointError as error:
            print(f"passed over: {error}", flush=True)
    return None


def verify_checkpoint(checkpoint: Path) -> None:
    """Raise CheckpointError naming the first file that is missing or does not match the manifest."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: {MANIFEST} cannot be read ({error})") from None
    for name, checksum in manifest.items():
        file = checkpoint / name
        if not file.is_file() or file_sha256(file) != checksum:
            raise CheckpointError(f"{file}: missing, or not the file that was saved (sha256 differs)")


def file_sha256(file: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-[0-9]*"))


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors refuses tensors that share memory (tied embeddings): store such a one twice."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
