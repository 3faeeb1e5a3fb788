"""A run's validations so far: the best one, and whether training stops early. Functions of what a checkpoint keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict


class Validated(TypedDict):
    """avg@k of the weights after `step` optimiser steps; a JSON object, as checkpoints keep it."""

    step: int
    avg_at_k: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How training ended: its steps in all, whether validation ended it, and all validations, the first one first."""

    steps: int
    stopped_early: bool
    validations: list[Validated]


def best_of(history: Sequence[Validated]) -> Validated | None:
    """Return the validation with the largest avg@k, of equal ones the first; None where there is none."""
    return max(history, key=lambda validated: validated["avg_at_k"], default=None)


def stops_early(history: Sequence[Validated], patience: int | None) -> bool:
    """Whether the last `patience` validations were no new best."""
    best = best_of(history)
    return patience is not None and best is not None and len(history) - 1 - history.index(best) >= patience
