"""Work that every process does its part of: what fails on one is an error on all, so that none waits for it."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from sgpo.errors import UserError

ValueT = TypeVar("ValueT")


class CheckpointError(UserError):
    """A checkpoint that is damaged, cannot be written, or belongs to another configuration."""


def on_every_process(
    work: Callable[[], ValueT], group: dist.ProcessGroup | None = None, what: str = ""
) -> list[ValueT]:
    """Return what `work()` gave on every process; when one fails all raise CheckpointError with what it says."""
    result: ValueT | None = None
    failure: str | None = None
    try:
        result = work()
    except CheckpointError as error:
        failure = str(error)
    except (Exception, CheckpointException) as error:  # DCP's own is no Exception
        failure = f"{what} ({_cause(error)})"
    outcomes = gathered((result, failure), group)
    failures = [failure for _, failure in outcomes if failure is not None]
    if failures:
        raise CheckpointError(failures[0])
    return [result for result, _ in outcomes]  # type: ignore[misc]


def _cause(error: BaseException) -> str:
    """Return the error's last line that says anything; DCP wraps what went wrong, with a trace, for every process."""
    if isinstance(error, CheckpointException):
        error = next((wrapped for wrapped, _ in error.failures.values()), error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else repr(error)


def gathered(value: ValueT, group: dist.ProcessGroup | None = None) -> list[ValueT]:
    """Return the value of every process, in the order of their ranks."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def rank() -> int:
    """Return this process's place among all."""
    return dist.get_rank() if dist.is_initialized() else 0
