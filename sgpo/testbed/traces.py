"""Worked traces in the student's own style: many wordings, optional words, each decision carried out at its place."""

import random
import re

from sgpo.testbed.decisions import DECISIONS, Place
from sgpo.testbed.ledger import ORDINALS, Ledger
from sgpo.testbed.plans import Plan

STARTS = ("Start with {known}.", "We have {known}.", "The count we know is {known}.", "First there is {known}.")
LINKS = ("", "", "Then ", "Next ", "Now ")
RISES = ("add {entry}", "put in {entry}", "gain {entry}")
FALLS = ("drop {entry}", "take off {entry}", "lose {entry}")
RESULTS = (" to get {count}.", ", which gives {count}.", ", so {count}.", " and reach {count}.")
STOPS = ("We stop at {answer}.", "There it ends, {answer}.")
"""Said where the finish is not in play."""
ENDINGS = ("The answer is \\boxed{{{answer}}}.", "Answer: \\boxed{{{answer}}}.", "This gives \\boxed{{{answer}}}.")


def write_trace(ledger: Ledger, right: Plan, plan: Plan, choose: random.Random) -> str:
    """Return a response that follows `plan` on `ledger`, right or wrong for the question, in words drawn by `choose`.

    It begins by reading the question, and reads it correctly: as in life, the facts are noticed whether or not the
    way of reasoning that they call for is chosen. Each decision of `plan` is then carried out at a place of its own, in
    the order of Place: by a sentence, or by the verbs of the first moves.
    """
    entries = [f"{name} {change}" for name, change in zip(ORDINALS, ledger.changes, strict=False)]
    working, counts = plan.follow(ledger.known, ledger.changes), ledger.counts(plan)
    values = {
        "known": ledger.known, "start": working.start, "first": entries[0], "capacity": ledger.capacity,
        "count": counts[-1], "answer": ledger.answer(plan),
    }  # fmt: skip

    def carry_out(place: Place) -> list[str]:
        chosen = [plan.options[decision.name] for decision in plan.decisions if decision.place == place]
        return [choose.choice(option.said).format(**values) for option in chosen if option.said]

    followed = [*entries[len(entries) - len(working.moves) :], *entries[-1:] * len(working.after)]
    moves = list(zip((*working.moves, *working.after), followed, counts[1:], strict=True))
    sentences = [
        _reading(right, choose),
        choose.choice(STARTS).format(**values),
        *carry_out(Place.START),
        *carry_out(Place.FIRST),
        *carry_out(Place.MOVES),
        *(_move(*move, choose) for move in moves[: len(working.moves)]),
        *carry_out(Place.LAST),
        *(_move(*move, choose) for move in moves[len(working.moves) :]),
        *(carry_out(Place.FINISH) or [choose.choice(STOPS).format(**values)]),
        choose.choice(ENDINGS).format(**values),
    ]
    return " ".join(sentences)


def deciding_words() -> set[str]:
    """Return the words, in lower case, with which a trace carries out one option of a decision and not the other."""
    said = [phrase for decision in DECISIONS for option in decision.options for phrase in option.said]
    return {re.split(r"[ .]", phrase)[0].lower() for phrase in (*RISES, *FALLS, *said)}


def _reading(right: Plan, choose: random.Random) -> str:
    facts = ", ".join(choose.choice(option.fact) for option in right.options.values())
    return f"{facts[0].upper()}{facts[1:]}."


def _move(move: int, entry: str, count: int, choose: random.Random) -> str:
    verb = choose.choice(RISES if move > 0 else FALLS).format(entry=entry)
    sentence = choose.choice(LINKS) + verb + choose.choice(RESULTS).format(count=count)
    return sentence[0].upper() + sentence[1:]
