"""The processes of a run: this process's place, sums over all of them, and how they meet."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous

ItemT = TypeVar("ItemT")
COLLECTIVE_LIMIT = timedelta(minutes=10)
"""A collective that takes longer ends the run: a process was lost."""


@dataclass(frozen=True, slots=True)
class World:
    """This process's place: rank of `size`, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Return whether this process writes files and prints."""
        return self.rank == 0

    def shard(self, items: Sequence[ItemT]) -> list[ItemT]:
        """Return this process's shard of `items`, every `size`-th."""
        return list(items[self.rank :: self.size])

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Return each value summed over all processes; every process gives the same keys."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def maximum(self, values: dict[str, float]) -> dict[str, float]:
        """Return each value's maximum over all processes."""
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

    def separate_barrier(self, limit: timedelta = COLLECTIVE_LIMIT) -> Callable[[], None]:
        """Return a barrier in a group of its own, for waits of up to `limit`, or of a thread beside training.

        Collective, as the barrier is. In the group of training's collectives a thread's barrier would meet whichever of
        them another process has come to: they hang, or give wrong sums.
        """
        if self.size == 1:
            return lambda: None
        group: Any = dist.new_group(backend="gloo", timeout=limit)

        def barrier() -> None:
            dist.barrier(group=group)

        return barrier

    def _reduce(self, values: dict[str, float], operation: dist.ReduceOp.RedOpType) -> dict[str, float]:
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        tensor = torch.tensor([values[name] for name in names], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=operation)
        return dict(zip(names, tensor.tolist(), strict=True))


def is_main_process() -> bool:
    """Return whether this process is torchrun's first, or there is no torchrun; the world need not be open."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def open_world(limit: timedelta = COLLECTIVE_LIMIT) -> Iterator[World]:
    """Join the process group that torchrun describes in the environment; without torchrun, a world of one.

    Every collective has a time limit, so that a lost process ends the run instead of hanging it.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1:
        store = _store_of_this_attempt(limit)
        dist.init_process_group(backend(device), store=store, rank=rank, world_size=size, timeout=limit)
    try:
        yield World(rank, size, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _store_of_this_attempt(timeout: timedelta) -> Store:
    """Torchrun's store, without what processes that were restarted since have left in it.

    On one machine torchrun (2.13) keeps its store when it starts processes again, and the addresses of the dead are
    then taken for those of the living. Several machines meet anew, at a new store.
    """
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def backend(device: torch.device) -> str:
    """Return gloo beside NCCL, because checkpoints and offloaded shards are exchanged in main memory."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
