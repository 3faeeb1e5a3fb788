"""The strategies in words: what a strong model would say about how to reason, without computing anything."""

import random

from sgpo.testbed.plans import Plan

TYPES = {
    "forward": ("Log with a known start", "Count with a given first value"),
    "reverse": ("Log with a known end", "Count with a given last value"),
}
APPROACHES = {
    "forward": ("run the log forward", "carry the count ahead"),
    "reverse": ("undo the log", "turn every change around"),
}


def describe(plan: Plan, choose: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """Problem type, strategy and procedural steps for `plan`, one step per decision, in words drawn by `choose`."""
    direction = plan.options["direction"].name
    steps = tuple(choose.choice(option.told) for option in plan.options.values())
    return choose.choice(TYPES[direction]), f"{plan.name}, {choose.choice(APPROACHES[direction])}.", steps
