"""The mathematics of the world: a ledger, what each plan gives on it, and whether it tells the plans apart."""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sgpo.testbed.plans import Plan, plans_of

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
"""Names of a log's entries, in questions and in traces: with them a small model finds an entry, without it does not."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The numbers of one problem."""

    capacity: int
    known: int
    changes: tuple[int, ...]

    def counts(self, plan: Plan) -> tuple[int, ...]:
        """Return the count that the moves start from and the count after each move when `plan` is followed."""
        working = plan.follow(self.known, self.changes)
        return tuple(itertools.accumulate((*working.moves, *working.after), initial=working.start))

    def answer(self, plan: Plan) -> int:
        """Return the number that following `plan` gives."""
        count = self.counts(plan)[-1]
        return self.capacity - count if plan.follow(self.known, self.changes).room else count

    def is_fair(self, decisions: int) -> bool:
        """Whether every plan stays between zero and the capacity, and no two plans give the same answer."""
        counts_CN, answers_PN = _linear_forms(decisions, len(self.changes))
        numbers_N = np.array((self.capacity, self.known, *self.changes))
        answers = (answers_PN @ numbers_N).tolist()
        if len(set(answers)) < len(answers):
            return False
        counts_C = counts_CN @ numbers_N
        return bool(counts_C.min() >= 0 and counts_C.max() <= self.capacity)


@lru_cache
def _linear_forms(decisions: int, entries: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All counts [C, N] and the answers [P, N] of all plans as coefficients of (capacity, known, changes).

    Effects are linear in the numbers, so what a plan gives on unit ledgers gives it on any, at the cost of a product.
    """
    basis = [Ledger(row[0], row[1], tuple(row[2:])) for row in np.eye(2 + entries, dtype=np.int64).tolist()]
    plans = plans_of(decisions)
    counts = [zip(*(ledger.counts(plan) for ledger in basis), strict=True) for plan in plans]
    answers = [[ledger.answer(plan) for ledger in basis] for plan in plans]
    return np.array(sorted({row for rows in counts for row in rows})), np.array(answers)
