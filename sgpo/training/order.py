"""Which problems a step trains on: a function of (seed, step) alone, so that resuming needs no state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def items_of_step(items: Sequence[ItemT], per_step: int, seed: int, step: int) -> list[ItemT]:
    """`per_step` items for step 0, 1, …; every epoch is a new permutation and no item is left out at its border."""
    if not items:
        raise ValueError("no items to draw from (expected at least 1 training problem)")
    chosen: list[ItemT] = []
    position = step * per_step
    while len(chosen) < per_step:
        epoch, offset = divmod(position + len(chosen), len(items))
        permutation = list(range(len(items)))
        random.Random(f"{seed}/{epoch}").shuffle(permutation)
        wanted = min(per_step - len(chosen), len(items) - offset)
        chosen += [items[index] for index in permutation[offset : offset + wanted]]
    return chosen
