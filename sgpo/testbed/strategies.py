"""The eight strategies in words: what a strong model would say about how to reason, without computing anything."""

import random

from sgpo.testbed.ledger import Plan

TYPES = {
    "forward": ("Log with a known start", "Count with a given first value"),
    "reverse": ("Log with a known end", "Count with a given last value"),
}
APPROACHES = {
    "forward": ("run the log forward", "carry the count ahead"),
    "reverse": ("undo the log", "turn every change around"),
}
FIRST_STEPS = ("Begin with the given count.", "Write the known count.")
MIDDLE_STEPS = {
    ("forward", "steady"): ("Add each entry.", "Let every entry raise the count."),
    ("forward", "swing"): ("Add and drop by turns.", "Raise then lower by turns."),
    ("reverse", "steady"): ("Drop each entry.", "Let every entry lower the count."),
    ("reverse", "swing"): ("Drop and add by turns.", "Lower then raise by turns."),
}
LAST_STEPS = {
    "count": ("Give the count.", "State the count itself."),
    "room": ("Compare with the capacity.", "Give what is free."),
}


def describe(plan: Plan, choose: random.Random) -> tuple[str, str, tuple[str, str, str]]:
    """Problem type, strategy and procedural steps for `plan`, in words drawn by `choose`."""
    steps = (
        choose.choice(FIRST_STEPS),
        choose.choice(MIDDLE_STEPS[plan.direction, plan.pattern]),
        choose.choice(LAST_STEPS[plan.finish]),
    )
    return choose.choice(TYPES[plan.direction]), f"{plan.name}, {choose.choice(APPROACHES[plan.direction])}.", steps
