"""Weights and optimiser state as named tensors, written and read by torch.distributed.checkpoint as safetensors.

Every process writes its own shards into files of its own, `shard-00001-….safetensors`, and any number of processes
reads them: DCP cuts and joins. Nothing is pickled.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.fsdp import FSDPModule

# One process without torchrun is meant, not a mistake.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

Optimizers = Sequence[torch.optim.Optimizer]
Tensors = dict[str, torch.Tensor]

FILE_BYTES = 2**28
"""Bytes of a file of a checkpoint, all processes' shards together, unless one tensor has more."""

_WEIGHTS, _GUIDE, _MOMENTS, _SEPARATOR = "weights/", "guide/", "optimizer/", "//"


def to_shards(module: nn.Module) -> None:
    """Let go of gathered parameters: after a forward without backward FSDP2 keeps the outermost ones whole.

    `module.parameters()` are then other tensors than those that an optimiser has.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def collect(module: nn.Module, optimizers: Optimizers, guide: Tensors | None = None) -> Tensors:
    """Every trained parameter once (tied ones share a name) and what the optimisers keep about it, not copied.

    `guide` has what a guide keeps of its own, by the names of parameters.
    """
    to_shards(module)
    tensors: Tensors = {_GUIDE + name: value for name, value in (guide or {}).items()}
    owners = _owners(optimizers)
    for name, parameter in trained(module):
        tensors[_WEIGHTS + name] = parameter.detach()
        if (owner := owners.get(parameter)) is not None:
            for key, value in owner.state.get(parameter, {}).items():
                tensors[f"{_MOMENTS}{name}{_SEPARATOR}{key}"] = torch.as_tensor(value)
    return tensors


def staged(tensors: Tensors) -> Tensors:
    """Return copies in main memory, which training does not change any more and nothing else holds."""
    stager = DefaultStager(StagingOptions(False, False, False, False))
    copied = stager.stage(dict(tensors))
    stager.close()  # it keeps the copies, and is part of a cycle: they would stay until Python looks for such
    assert isinstance(copied, dict)
    return copied


def hyperparameters(optimizers: Optimizers) -> list[list[dict[str, Any]]]:
    """Of every optimiser the settings of its parameter groups, without the parameters."""
    return [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def write(tensors: Tensors, folder: Path, group: dist.ProcessGroup | None = None) -> None:
    """Write this process's shards into `folder`; collective over `group`. What fails on one process raises on all.

    The writer holds the bytes of a whole file beside the tensors, so a large state is split over several.
    """
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=_files(tensors), save_distributed=True)
    save(dict(tensors), storage_writer=writer, process_group=group, no_dist=not dist.is_initialized())


def _files(tensors: Tensors) -> dict[str, int]:
    """Return the number of the file that each tensor is written to, the same on every process; they begin at 1."""
    number, size, files = 1, 0, {}
    for name, value in tensors.items():
        bytes_ = value.numel() * value.element_size()
        if size and size + bytes_ > FILE_BYTES:
            number, size = number + 1, 0
        files[name], size = number, size + bytes_
    return files


def read(
    folder: Path, module: nn.Module, optimizers: Optimizers, settings: list[list[dict[str, Any]]],
    guide: Tensors | None = None,
) -> None:  # fmt: skip
    """Fill parameters, optimiser state and the guide's tensors in place from what any number of processes wrote.

    Collective. The state of parameters that no optimiser here has is left out.

    Raises KeyError where a parameter of `module` is not in the files, ValueError where its shape is another one.
    """
    to_shards(module)
    reader = HuggingFaceStorageReader(str(folder))
    stored = reader.read_metadata().state_dict_metadata
    tensors: Tensors = {_GUIDE + name: value for name, value in (guide or {}).items()}
    owners = _owners(optimizers)
    for name, value in tensors.items():
        _expect_shape(name, stored[name], value)
    for name, parameter in trained(module):
        _expect_shape(name, stored[_WEIGHTS + name], parameter)
        tensors[_WEIGHTS + name] = parameter.detach()
        prefix = f"{_MOMENTS}{name}{_SEPARATOR}"
        if (owner := owners.get(parameter)) is None:
            continue
        for key in (key for key in stored if key.startswith(prefix)):
            value = _room(stored[key], parameter, _counts_beside(parameter, owner))
            owner.state[parameter][key.removeprefix(prefix)] = tensors[key] = value
    load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    for optimizer, groups in zip(optimizers, settings, strict=True):
        for group, saved in zip(optimizer.param_groups, groups, strict=True):
            group.update({key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()})


def trained(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield all but frozen parameters, which a checkpoint names by their checksum instead of keeping them."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _owners(optimizers: Optimizers) -> dict[torch.Tensor, torch.optim.Optimizer]:
    return {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def _counts_beside(parameter: torch.Tensor, owner: torch.optim.Optimizer) -> bool:
    """Return whether the optimiser's kernel reads a parameter's count of steps on the parameter's own device."""
    groups = (group for group in owner.param_groups if any(parameter is own for own in group["params"]))
    return any(group.get("fused") or group.get("capturable") for group in groups)


def _room(stored: Any, parameter: torch.Tensor, beside: bool) -> torch.Tensor:
    """Return an empty tensor for a stored one: sharded as the parameter is where it has its shape, else whole.

    A whole one is in main memory, or where the parameter is if it has to be `beside` it.
    """
    assert isinstance(stored, TensorStorageMetadata)
    dtype = stored.properties.dtype
    if stored.size == parameter.shape and stored.size != torch.Size([]):
        return torch.zeros_like(parameter.detach(), dtype=dtype)
    return torch.zeros(stored.size, dtype=dtype, device=parameter.device if beside else None)


def _expect_shape(name: str, stored: Any, parameter: torch.Tensor) -> None:
    if stored.size != parameter.shape:
        raise ValueError(f"{name} is {tuple(stored.size)} in the checkpoint, {tuple(parameter.shape)} in the model")
