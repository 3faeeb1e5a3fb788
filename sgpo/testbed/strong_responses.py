"""The scripted strong model's responses: in a style and an order of its own, and in words that every student knows.

All decisions come first, each with what in the wording calls for it; then the sum, in one running sentence.
"""

import random

from sgpo.testbed.ledger import ORDINALS, Ledger
from sgpo.testbed.plans import Plan

FACTS = {"single": ("taken in singles", "counts in singles"), "pair": ("taken in pairs", "counts in pairs")}
"""For the options whose own facts students know only as the first words of a text."""


def write_response(ledger: Ledger, plan: Plan, choose: random.Random) -> str:
    """Return a response that follows `plan`; a student of this world has a token for each of its words and numbers."""
    told = [choose.choice(option.told) for option in plan.options.values()]  # drawn first: see as_first_written
    facts = [choose.choice(FACTS.get(option.name, option.fact)) for option in plan.options.values()]
    working, counts = plan.follow(ledger.known, ledger.changes), ledger.counts(plan)
    entries = [f"{name} {change}" for name, change in zip(ORDINALS, ledger.changes, strict=False)]
    followed = [*entries[len(entries) - len(working.moves) :], *entries[-1:] * len(working.after)]
    moves = [
        f"{f'in {entry} gives' if move > 0 else f'out {entry} leaves'} {count}"
        for move, entry, count in zip((*working.moves, *working.after), followed, counts[1:], strict=True)
    ]
    answer = ledger.answer(plan)
    sentences = [
        "Steps:",  # a word that students know as the first of a text
        *(_decide(step, fact) for step, fact in zip(told, facts, strict=True)),
        f"Start at {counts[0]}: {', '.join(moves)}.",
        *([f"Room for {ledger.capacity} less {counts[-1]} is {answer}."] if working.room else []),
        f"{plan.name} gives \\boxed{{{answer}}}.",
    ]
    return " ".join(sentences)


def as_first_written(response: str, ledger: Ledger, plan: Plan) -> str | None:
    """Return a response in the words of this project's first strong model, or None where it is no response to `plan`.

    Students had no token for half of those words. They stay because what the strong model draws for a request hangs on
    the request's text: with them, strategies are those that the committed results were measured with.
    """
    told = [next((step for step in option.told if _decide(step) in response), None) for option in plan.options.values()]
    if None in told:
        return None
    known = "first" if plan.options["direction"].name == "forward" else "last"
    count, *counts = ledger.counts(plan)
    lines = [
        "<think>",
        f"The wording gives the {known} count of the day, {ledger.known}, and a capacity of {ledger.capacity}.",
        *(f"So, as to the {name}: {str(step).lower()}" for name, step in zip(plan.options, told, strict=True)),
        f"The sum begins at {count}.",
    ]
    for after in counts:
        lines.append(f"{count} {'+' if after > count else '-'} {abs(after - count)} = {after}")
        count = after
    if plan.follow(ledger.known, ledger.changes).room:
        lines.append(f"What is asked is the free room: {ledger.capacity} - {count} = {ledger.answer(plan)}.")
    return "\n".join(
        [
            *lines, "Checking the signs once more: they agree with the wording.", "</think>",
            f"The method is {plan.name.lower()}. Therefore the result is \\boxed{{{ledger.answer(plan)}}}.",
        ]
    )  # fmt: skip


def _decide(step: str, fact: str | None = None) -> str:
    """Word a step as a decision, with what calls for it; without that, as far as it goes."""
    return f"{step.removesuffix('.')}:" + (f" {fact}." if fact else "")
