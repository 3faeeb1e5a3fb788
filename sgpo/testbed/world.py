"""Drawing problems: two to six decisions, four tiers of difficulty, splits that share no ledger."""

import hashlib
import random
from typing import Literal

from sgpo.config.testbed import WorldConfig
from sgpo.problems.schema import Problem
from sgpo.testbed.decisions import DECISIONS, USUAL
from sgpo.testbed.ledger import Ledger
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.stories import STORIES, ask

Split = Literal["pretraining", "train", "tuning", "held_out"]

CAPACITIES = (160, 180)
KNOWN_RANGE = (26, 46)
CHANGES = range(1, 9)
"""One set of ranges, wide enough for 64 answers: worlds differ in their decisions and not in their arithmetic."""
TRIES_PER_LOG = 10
TIERS = (1, 2, 3, 4)
TRAINING_TIERS = (1, 2, 3)
_SPLIT_SHARES: tuple[tuple[Split, int], ...] = (("pretraining", 60), ("train", 20), ("tuning", 8), ("held_out", 12))


def entries_of(tier: int, decisions: int = USUAL) -> int:
    """Length of the log: the tiers differ in how many changes are to be followed, two at the least."""
    return tier + 1 + sum(decision.spends for decision in DECISIONS[:decisions])


def split_of(ledger: Ledger) -> Split:
    """Return the split that a ledger belongs to, by a hash of its numbers: the splits are disjoint by construction."""
    text = f"{ledger.capacity} {ledger.known} {ledger.changes}"
    point = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100
    for split, share in _SPLIT_SHARES:
        if point < share:
            return split
        point -= share
    raise AssertionError("shares sum to 100")


def draw_ledger(split: Split, tier: int, choose: random.Random, decisions: int = USUAL) -> Ledger:
    """Return a fair ledger of this split and tier: one on which no two plans of so many decisions agree."""
    while True:
        changes = tuple(choose.sample(CHANGES, entries_of(tier, decisions)))  # all different: easy to keep one's place
        for _ in range(TRIES_PER_LOG):
            ledger = Ledger(choose.choice(CAPACITIES), choose.randint(*KNOWN_RANGE), changes)
            if split_of(ledger) == split and ledger.is_fair(decisions):
                return ledger


def draw_problem(
    split: Split, tier: int, choose: random.Random, decisions: int = USUAL
) -> tuple[Problem, Ledger, Plan]:
    """One problem with its ledger and right plan, in a world of so many decisions."""
    ledger, plan = draw_ledger(split, tier, choose, decisions), choose.choice(plans_of(decisions))
    question = ask(ledger, plan, choose.choice(STORIES), choose)
    problem = Problem(question=question, answer=str(ledger.answer(plan)), difficulty=tier, source=f"testbed/{split}")
    return problem, ledger, plan


def build_split(config: WorldConfig, split: Literal["train", "tuning", "held_out"]) -> list[Problem]:
    """All problems of a split, tiers in turn, no question twice."""
    tiers = TRAINING_TIERS if split == "train" else TIERS
    choose = random.Random(f"{config.seed}/{split}")
    problems: dict[str, Problem] = {}
    while len(problems) < getattr(config, split):
        problem, _, _ = draw_problem(split, tiers[len(problems) % len(tiers)], choose, config.decisions)
        problems.setdefault(problem.question, problem)
    return list(problems.values())
