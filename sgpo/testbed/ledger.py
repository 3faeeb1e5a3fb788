"""The mathematics of the world: a ledger, the eight plans that can be followed on it, and what each one gives."""

import itertools
from dataclasses import dataclass
from typing import Literal

Direction = Literal["forward", "reverse"]
Pattern = Literal["steady", "swing"]
Finish = Literal["count", "room"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to reason about a ledger; which plan is right is told only by the wording of the question.

    `direction`: run the log forward from the first count, or undo it from the last one. `pattern`: all entries are
    arrivals, or arrivals and departures take turns, an arrival first. `finish`: the count itself, or the room left.
    """

    direction: Direction
    pattern: Pattern
    finish: Finish

    @property
    def name(self) -> str:
        """The strategy's name, one of eight."""
        stem = f"{self.direction.capitalize()} {'sum' if self.pattern == 'steady' else 'swing'}"
        return stem if self.finish == "count" else f"{stem} to the rim"

    def signs(self, entries: int) -> tuple[int, ...]:
        """+1 or -1 for each entry of the log."""
        first = 1 if self.direction == "forward" else -1
        return tuple(first * (-1 if self.pattern == "swing" and index % 2 else 1) for index in range(entries))


PLANS: tuple[Plan, ...] = tuple(
    Plan(direction, pattern, finish)
    for direction, pattern, finish in itertools.product(("forward", "reverse"), ("steady", "swing"), ("count", "room"))
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The numbers of one problem."""

    capacity: int
    known: int
    changes: tuple[int, ...]

    def counts(self, plan: Plan) -> tuple[int, ...]:
        """Return the count after each entry when `plan` is followed."""
        steps = (sign * change for sign, change in zip(plan.signs(len(self.changes)), self.changes, strict=True))
        return tuple(itertools.accumulate(steps, initial=self.known))[1:]

    def answer(self, plan: Plan) -> int:
        """Return the number that following `plan` gives."""
        count = self.counts(plan)[-1]
        return count if plan.finish == "count" else self.capacity - count

    def is_fair(self) -> bool:
        """Whether every plan stays between zero and the capacity, and no two plans give the same answer."""
        within = all(0 <= count <= self.capacity for plan in PLANS for count in self.counts(plan))
        return within and len({self.answer(plan) for plan in PLANS}) == len(PLANS)
