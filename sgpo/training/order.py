"""Which problems a step trains on: a function of (seed, step) alone, so that resuming needs no state."""

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
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


def counted_before(items: Sequence[Hashable]) -> list[int]:
    """Return how often each item comes before itself: 0 everywhere where none is there twice."""
    counts: Counter[Hashable] = Counter()
    before = []
    for item in items:
        before.append(counts[item])
        counts[item] += 1
    return before


def _permutation(size: int, per_step: int, seed: int, epoch: int) -> list[int]:
    """Return the order of an epoch; what shares a step with the end of the epoch before it is none of that end."""
    # An epoch of two steps keeps its end whatever its beginning is; a shorter one's depends on those before it, back to
    # the last epoch that begins with a step.
    depends_on = 1 if size >= 2 * per_step else epoch % (per_step // math.gcd(size, per_step))
    first = max(0, epoch - depends_on)
    permutation = _shuffled(size, seed, first)
    for number in range(first + 1, epoch + 1):
        shared = number * size % per_step  # items of the epoch before in the step that crosses the border
        permutation = _apart(_shuffled(size, seed, number), permutation[size - shared :], per_step)
    return permutation


def _apart(permutation: list[int], last: list[int], per_step: int) -> list[int]:
    """Return the permutation with none of `last` among its first items, those that share a step with `last`."""
    if not last or len(permutation) < per_step:  # with fewer items than a step has they cannot be kept apart
        return permutation
    avoided = set(last)
    early = [index for index in permutation if index not in avoided][: per_step - len(last)]
    taken = set(early)
    return [*early, *(index for index in permutation if index not in taken)]


def _shuffled(size: int, seed: int, epoch: int) -> list[int]:
    permutation = list(range(size))
    random.Random(f"{seed}/{epoch}").shuffle(permutation)
    return permutation
