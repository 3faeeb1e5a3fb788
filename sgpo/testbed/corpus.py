"""What the base models are pre-trained on: they execute the plan that they are told, and choose by habit."""

import random
from dataclasses import dataclass

from sgpo.config.testbed import CorpusConfig
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.decisions import DECISIONS, USUAL
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.strategies import describe
from sgpo.testbed.traces import write_trace
from sgpo.testbed.world import TIERS, draw_problem


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt and response in words; `strategy` is what is put before the question, if anything."""

    question: str
    strategy: str | None
    response: str


def draw_example(
    config: CorpusConfig, choose: random.Random, longest_tier: int = max(TIERS), decisions: int = USUAL
) -> Example:
    """One example of a world of so many decisions: ledgers of the pretraining split, tiers up to `longest_tier`."""
    tier = choose.randint(min(TIERS), longest_tier)
    problem, ledger, right = draw_problem("pretraining", tier, choose, decisions)
    if choose.random() < config.guided:
        plan = choose.choice(plans_of(decisions)) if choose.random() < config.told_wrong else right
        problem_type, approach, steps = describe(plan, choose)
        strategy = Strategy(
            problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
            scores=dict.fromkeys(CRITERIA, 1.0), teacher="corpus", prompt_version="corpus", candidates_seen=1,
        )  # fmt: skip
        return Example(problem.question, strategy.text(), write_trace(ledger, right, plan, choose))
    plan = _chosen(right, config.chosen_right, choose)
    return Example(problem.question, None, write_trace(ledger, right, plan, choose))


def _chosen(right: Plan, chance: float, choose: random.Random) -> Plan:
    """Return a plan each of whose decisions is the right one with `chance`, by itself."""
    plan = right
    for decision in DECISIONS[: len(right.choices)]:
        plan = plan if choose.random() < chance else plan.but(decision)
    return plan
