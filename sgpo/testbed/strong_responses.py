"""The scripted strong model's responses: in an order and a style of its own, in words that every student can write.

The student notes all facts first and then works. The strong model says what in the wording calls for a decision right
before it takes it, always in the same words, and runs the sum through in one sentence.
"""

import random

from sgpo.testbed.decisions import Place
from sgpo.testbed.ledger import ORDINALS, Ledger
from sgpo.testbed.plans import Plan


def write_response(ledger: Ledger, plan: Plan, choose: random.Random) -> str:
    """Return a response that follows `plan`; a student of this world has a token for each of its words and numbers."""
    # Which of the facts is said tells which step was drawn: as_first_written reads it back.
    told = [option.told.index(choose.choice(option.told)) for option in plan.options.values()]
    facts = {name: option.fact[index] for (name, option), index in zip(plan.options.items(), told, strict=True)}
    moves, after = _moves(ledger, plan)
    values = {
        "start": ledger.counts(plan)[0], "first": f"{ORDINALS[0]} {ledger.changes[0]}", "capacity": ledger.capacity,
        "count": ledger.counts(plan)[-1], "answer": ledger.answer(plan),
    }  # fmt: skip
    sentences = [[f"We have {ledger.known}"]]  # each ends with what calls for the next one
    for place in dict.fromkeys(decision.place for decision in plan.decisions):
        here = [decision.name for decision in plan.decisions if decision.place == place]
        sentences[-1] += [facts[name] for name in here]
        said = [option.said[0] for option in (plan.options[name] for name in here) if option.said]
        taken = [phrase.removesuffix(".").format(**values) for phrase in said]
        taken += moves if place == Place.MOVES else after if place == Place.LAST else []
        sentences.append([taken[0][0].upper() + taken[0][1:], *taken[1:]])
    (start, *opening), *work = sentences  # students know the facts of the first decision as the first words of a text
    work = [opening, [start], *work, [f"{plan.name} gives \\boxed{{{ledger.answer(plan)}}}"]]
    text = ". ".join(map(", ".join, work))
    return f"{text[0].upper()}{text[1:]}."


def _moves(ledger: Ledger, plan: Plan) -> tuple[list[str], list[str]]:
    """Each move of the log and after it, with the count that it gives."""
    working, counts = plan.follow(ledger.known, ledger.changes), ledger.counts(plan)[1:]
    entries = [f"{name} {change}" for name, change in zip(ORDINALS, ledger.changes, strict=False)]
    followed = [*entries[len(entries) - len(working.moves) :], *entries[-1:] * len(working.after)]
    told = [
        f"{'add' if move > 0 else 'drop'} {entry}, so {count}"
        for move, entry, count in zip((*working.moves, *working.after), followed, counts, strict=True)
    ]
    told[0] = f"now {told[0]}"
    return told[: len(working.moves)], told[len(working.moves) :]


def as_first_written(response: str, ledger: Ledger, plan: Plan) -> str | None:
    """Return a response in the words of this project's first strong model, or None where it is no response to `plan`.

    Students had no token for many of those words. They stay because what the strong model draws for a request hangs on
    the request's text: with them, strategies are those that the committed results were measured with.
    """
    told = [
        next((step for step, fact in zip(option.told, option.fact, strict=True) if fact in response.lower()), None)
        for option in plan.options.values()
    ]
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
