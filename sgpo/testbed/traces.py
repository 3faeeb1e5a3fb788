"""Worked traces in the student's own style: many wordings, optional steps, one line of reasoning."""

import random

from sgpo.testbed.ledger import Ledger, Plan

READINGS = {
    "forward": ("The first count is known", "We know the first count"),
    "reverse": ("The last count is known", "We know the last count"),
    "steady": ("all came in", "nothing left"),
    "swing": ("some left again", "it went both ways"),
    "count": ("the count is asked.", "we want the count."),
    "room": ("the room is asked.", "we want the room."),
}
STARTS = ("Start with {known}.", "We have {known}.", "The count we know is {known}.", "First there is {known}.")
LINKS = ("", "", "Then ", "Next ", "Now ")
RISES = ("add {change}", "put in {change}", "count up {change}")
FALLS = ("drop {change}", "take off {change}", "count down {change}")
RESULTS = (" to get {count}.", ", which gives {count}.", ", so {count}.", " and reach {count}.")
COUNTS = ("So that is the count, {answer}.", "The count stands at {answer}.", "We stop at {answer}.")
ROOMS = (
    "So the free part is {capacity} less {count}, or {answer}.",
    "The room is {capacity} less {count}, or {answer}.",
    "We fill up to {capacity}, so {answer} more.",
)
ENDINGS = ("The answer is \\boxed{{{answer}}}.", "Answer: \\boxed{{{answer}}}.", "This gives \\boxed{{{answer}}}.")


def write_trace(ledger: Ledger, right: Plan, plan: Plan, choose: random.Random) -> str:
    """Return a response that follows `plan` on `ledger`, right or wrong for the question, in words drawn by `choose`.

    It begins by reading the question, and reads it correctly: as in life, the facts are noticed whether or not the
    way of reasoning that they call for is chosen.
    """
    answer = ledger.answer(plan)
    reading = ", ".join(choose.choice(READINGS[fact]) for fact in (right.direction, right.pattern, right.finish))
    parts = [reading, choose.choice(STARTS).format(known=ledger.known)]
    for sign, change, count in zip(plan.signs(len(ledger.changes)), ledger.changes, ledger.counts(plan), strict=True):
        move = choose.choice(RISES if sign > 0 else FALLS).format(change=change)
        sentence = choose.choice(LINKS) + move + choose.choice(RESULTS).format(count=count)
        parts.append(sentence[0].upper() + sentence[1:])
    finishes = COUNTS if plan.finish == "count" else ROOMS
    parts.append(choose.choice(finishes).format(capacity=ledger.capacity, count=ledger.counts(plan)[-1], answer=answer))
    parts.append(choose.choice(ENDINGS).format(answer=answer))
    return " ".join(part for part in parts if part)
