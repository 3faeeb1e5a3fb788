"""One process or many: the process group, sharding with FSDP2, and sums over all processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous

from sgpo.config import ConfigError, ShardingConfig
from sgpo.training.policy import Policy

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class World:
    """This process's place: rank of `size`, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, items: Sequence[ItemT]) -> list[ItemT]:
        """This process's part of `items`, every `size`-th."""
        return list(items[self.rank :: self.size])

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Each value summed over all processes; every process gives the same keys."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def maximum(self, values: dict[str, float]) -> dict[str, float]:
        """Each value's maximum over all processes."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of parameters that every process holds whole, in place, in one collective."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def barrier(self) -> None:
        """Wait for every process."""
        if self.size > 1:
            dist.barrier()

    def _reduce(self, values: dict[str, float], operation: dist.ReduceOp.RedOpType) -> dict[str, float]:
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        tensor = torch.tensor([values[name] for name in names], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=operation)
        return dict(zip(names, tensor.tolist(), strict=True))


def is_main_process() -> bool:
    """Whether this process is torchrun's first, or there is no torchrun; may be asked before the world is open."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def open_world(timeout_minutes: float = 10.0) -> Iterator[World]:
    """Join the process group that torchrun describes in the environment; without torchrun, a world of one.

    Every collective has a time limit, so that a lost process ends the run instead of hanging it.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1:
        timeout = timedelta(minutes=timeout_minutes)
        store = _store_of_this_attempt(timeout)
        dist.init_process_group(_backend(device), store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield World(rank, size, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _store_of_this_attempt(timeout: timedelta) -> Store:
    """torchrun's store, without what processes that were restarted since have left in it.

    On one machine torchrun (2.13) keeps its store when it starts processes again, and the addresses of the dead are
    then taken for those of the living. Several machines meet anew, at a new store.
    """
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _backend(device: torch.device) -> str:
    """Gloo beside NCCL, because checkpoints and offloaded shards are exchanged in main memory."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def shard_policy(policy: Policy, world: World, settings: ShardingConfig | None = None) -> bool:
    """Shard parameters, gradients and optimiser state over the processes (FSDP2), layer by layer; whether it did.

    Gradients are summed, not averaged: the losses are already divided by global counts. With bfloat16 the shards stay
    float32, and so do the sums of gradients. One process shards nothing unless precision or offload ask for it.
    """
    settings = settings or ShardingConfig()
    if world.size % settings.replicas:
        raise ConfigError(f"sharding.replicas is {settings.replicas} (expected a divisor of {world.size} processes)")
    if settings.activation_checkpointing:
        policy.model.train()  # transformers recomputes in training mode only; there is no dropout to switch on
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
    if world.size == 1 and settings.precision == "float32" and not settings.cpu_offload:
        return False
    if not dist.is_initialized():
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(_backend(world.device), store=store, rank=0, world_size=1)
    lowered = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    layers = policy.model.get_decoder().get_submodule("layers")
    for module in (*layers.children(), policy):
        sharded = fully_shard(
            module,
            mesh=_mesh(world, settings.replicas),
            mp_policy=lowered if settings.precision == "bfloat16" else MixedPrecisionPolicy(),
            offload_policy=CPUOffloadPolicy(world.device.type == "cuda") if settings.cpu_offload else OffloadPolicy(),
        )
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no premultiplied sum, which FSDP2 uses in float32
    return True


def _mesh(world: World, replicas: int) -> DeviceMesh:
    if replicas == 1:
        return init_device_mesh(world.device.type, (world.size,))
    shape = (replicas, world.size // replicas)
    return init_device_mesh(world.device.type, shape, mesh_dim_names=("replicate", "shard"))


def whole_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """The weights gathered on the first process (empty on the others), adapters merged; every process calls this.

    Tied parameters are there once, under their first name, however many processes there are.
    """
    main = not dist.is_initialized() or dist.get_rank() == 0
    weights = {name: tensor.cpu() for name, tensor in policy.merged_tensors() if main}
    persistent = policy.model.state_dict().keys()
    buffers = policy.model.named_buffers()
    return weights | {name: value.cpu() for name, value in buffers if main and name in persistent}


def in_step(batches: Sequence[list[ItemT]], world: World) -> Iterator[list[ItemT]]:
    """This process's micro-batches, then empty ones until every process has had as many.

    Forward and backward of a sharded model are collective: a process with nothing to do still takes part.
    """
    most = int(world.maximum({"batches": float(len(batches))})["batches"])
    yield from batches
    yield from ([] for _ in range(most - len(batches)))
