"""A challenger that is its champion once more: training has changed nothing, and no version is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sgpo.config import TrackingConfig
from sgpo.errors import UserError
from sgpo.files import file_sha256
from sgpo.registry.lineage import FILES_TAG, hashes_of
from sgpo.registry.models import find_version
from sgpo.registry.store import open_registry

if TYPE_CHECKING:
    import torch

UNCHANGED_TAG = "sgpo.unchanged"
"""Tag of a version whose weights are those of the version that it names, registered all the same."""
_HEAD = "lm_head.weight"


class NothingLearntError(UserError, ValueError):
    """A trained model whose weights are those it began with; it is not registered."""


def refuse_unchanged(model: Path, champion: Path, name: str) -> None:
    """Raise NothingLearntError where every tensor of `model` is that of the folder it began from, called `name`."""
    ours, theirs = _tensors(model), _tensors(champion)
    if (ours.keys() ^ theirs.keys()) - {_HEAD}:  # a tied head may be written or not
        return
    if all(_same(_read(ours[key], key), _read(theirs[key], key)) for key in ours.keys() & theirs.keys()):
        raise NothingLearntError(_message(model, name))


def find_unchanged(tracking: TrackingConfig, model: Path, parent: str) -> NothingLearntError | None:
    """Return the error where the weight files of `model` are, byte for byte, those of version `parent`; else None."""
    with open_registry(tracking, write=False) as client:
        files = hashes_of(find_version(client, tracking, parent).tags, FILES_TAG) or {}
    theirs = {file: digest for file, digest in files.items() if file.endswith(".safetensors")}
    ours = {file.name: file_sha256(file) for file in model.glob("*.safetensors")}
    if theirs and ours == theirs:
        return NothingLearntError(_message(model, f"version {parent} of {tracking.registered_model}"))
    return None


def _message(model: Path, name: str) -> str:
    return (
        f"{model}: its weights are those of {name}, which it began from: training has changed nothing, so that there "
        "is nothing to measure and no version is registered (expected rewards that differ within groups, or strategies "
        "that help: `sgpo check`, and alarm/equal_steps in the run's metrics)"
    )


def _tensors(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor by name."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            found |= dict.fromkeys(tensors.keys(), file)
    return found


def _read(file: Path, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        return tensors.get_tensor(name)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, in whatever precision each is written."""
    import torch

    return one.shape == other.shape and torch.equal(one.float(), other.float())
