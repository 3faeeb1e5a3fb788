"""What the base models are pre-trained on: they execute the plan that they are told, and choose by habit."""

import random
from dataclasses import dataclass

from sgpo.config.testbed import CorpusConfig
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.ledger import PLANS, Plan
from sgpo.testbed.strategies import describe
from sgpo.testbed.traces import write_trace
from sgpo.testbed.world import TIERS, draw_problem


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and response in words; `strategy` is what is put before the question, if anything."""

    question: str
    strategy: str | None
    response: str


def draw_example(config: CorpusConfig, choose: random.Random, longest_tier: int = max(TIERS)) -> Example:
    """One example from ledgers of the pretraining split, tiers up to `longest_tier`."""
    tier = choose.randint(min(TIERS), longest_tier)
    problem, ledger, right = draw_problem("pretraining", tier, choose)
    if choose.random() < config.guided:
        plan = choose.choice(PLANS) if choose.random() < config.told_wrong else right
        problem_type, approach, steps = describe(plan, choose)
        strategy = Strategy(
            problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
            scores=dict.fromkeys(CRITERIA, 1.0), teacher="corpus", prompt_version="corpus", candidates_seen=1,
        )  # fmt: skip
        return Example(problem.question, strategy.text(), write_trace(ledger, right, plan, choose))
    plan = _chosen(right, config.chosen_right, choose)
    return Example(problem.question, None, write_trace(ledger, right, plan, choose))


def _chosen(right: Plan, chance: float, choose: random.Random) -> Plan:
    """Return a plan each of whose three decisions is the right one with `chance`, by itself."""
    wrong = Plan(
        "reverse" if right.direction == "forward" else "forward",
        "swing" if right.pattern == "steady" else "steady",
        "room" if right.finish == "count" else "count",
    )
    direction, pattern, finish = (right if choose.random() < chance else wrong for _ in range(3))
    return Plan(direction.direction, pattern.pattern, finish.finish)
