"""Which problems a step trains on: a function of (seed, step) alone, so that resuming needs no state."""

import random
from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def items_of_step(items: Sequence[ItemT], per_step: int, seed: int, step: int) -> list[ItemT]:
    """`per_step` items for step 0, 1, …; every epoch is a new permutation and no item is left out at its border.

    A step has no item twice, unless there are fewer items than `per_step`: an epoch's first items are those that the
    epoch before it does not end with.
    """
    if not items:
        raise ValueError("no items to draw from (expected at least 1 training problem)")
    size = len(items)
    position, chosen = step * per_step, list[int]()
    while len(chosen) < per_step:
        epoch, offset = divmod(position + len(chosen), size)
        wanted = min(per_step - len(chosen), size - offset)
        chosen += _permutation(size, per_step, seed, epoch)[offset : offset + wanted]
    return [items[index] for index in chosen]


def _permutation(size: int, per_step: int, seed: int, epoch: int) -> list[int]:
    """Return the order of an epoch; what shares a step with the end of the epoch before it is none of that end."""
    permutation = _shuffled(size, seed, epoch)
    shared = epoch * size % per_step  # items of the epoch before in the step that crosses the border
    if not shared or size < 2 * per_step:
        return permutation
    # That end is not moved by its own epoch's border: epochs are at least two steps long.
    last = set(_shuffled(size, seed, epoch - 1)[-shared:])
    head = per_step - shared
    early = [index for index in permutation if index not in last]
    taken = set(early[:head])
    return [*early[:head], *(index for index in permutation if index not in taken)]


def _shuffled(size: int, seed: int, epoch: int) -> list[int]:
    permutation = list(range(size))
    random.Random(f"{seed}/{epoch}").shuffle(permutation)
    return permutation
