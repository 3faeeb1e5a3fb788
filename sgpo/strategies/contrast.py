"""Wrong strategies on purpose: for each problem one of another problem type, to tell guidance from its form."""

import random
from collections.abc import Mapping

from sgpo.strategies.schema import Strategy


def contrasts_of(strategies: Mapping[str, Strategy], seed: int) -> dict[str, str]:
    """Return, by problem id, the text of another problem's strategy whose problem type is another.

    Which one is a function of the seed and the problem's id. Where all problems are of one type there is none.
    """
    types = sorted({strategy.problem_type for strategy in strategies.values()})
    members = {one: [strategy for strategy in strategies.values() if strategy.problem_type == one] for one in types}
    contrasts = {}
    for problem_id, strategy in strategies.items():
        draw = random.Random(f"contrast/{seed}/{problem_id}")
        if others := [one for one in types if one != strategy.problem_type]:
            chosen = draw.choices(others, [len(members[one]) for one in others])[0]
            contrasts[problem_id] = draw.choice(members[chosen]).text()
    return contrasts
