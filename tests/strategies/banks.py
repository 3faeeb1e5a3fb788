"""Small strategy banks for the tests: one strategy worded by hand, or many as the testbed's strong model words them."""

from __future__ import annotations

import random

from sgpo.problems.schema import Problem
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.plans import plans_of
from sgpo.testbed.strategies import describe
from sgpo.testbed.world import draw_problem

VIETA = "Use Vieta's formulas to express the sum and product of the roots by the coefficients."
PARITY = "Colour the board like a chessboard and compare what every piece covers."


def strategy(
    name: str,
    approach: str = VIETA,
    score: float = 0.5,
    problem_type: str = "Roots",
    steps: tuple[str, ...] = ("Write what is known.", "Substitute it."),
) -> Strategy:
    """A strategy of the problem `name` with the same score in every criterion."""
    return Strategy(
        problem_id=name,
        problem_type=problem_type,
        approach=approach,
        steps=steps,
        score=score,
        scores=dict.fromkeys(CRITERIA, score),
        teacher="t",
        prompt_version="v1",
        candidates_seen=5,
    )


def worded_bank(count: int, seed: int = 0) -> tuple[list[Strategy], dict[str, str]]:
    """`count` strategies without their problems, and the plan that each follows by problem id."""
    choose = random.Random(seed)
    strategies, plans = [], {}
    for number in range(count):
        plan = choose.choice(plans_of())
        problem_type, approach, steps = describe(plan, choose)
        name = f"p{number:03d}"
        strategies.append(strategy(name, approach, round(choose.random(), 3), problem_type, steps))
        plans[name] = plan.name
    return strategies, plans


def asked_bank(count: int, seed: int = 0) -> tuple[list[Problem], list[Strategy], dict[str, str]]:
    """`count` different problems of the testbed's training split with right strategies, and their plans by id."""
    choose = random.Random(seed)
    problems: dict[str, Problem] = {}
    strategies, plans = [], {}
    while len(problems) < count:
        problem, _, plan = draw_problem("train", 1 + len(problems) % 3, choose)
        if problem.id in problems:
            continue
        problems[problem.id] = problem
        problem_type, approach, steps = describe(plan, choose)
        strategies.append(strategy(problem.id, approach, round(choose.random(), 3), problem_type, steps))
        plans[problem.id] = plan.name
    return list(problems.values()), strategies, plans
