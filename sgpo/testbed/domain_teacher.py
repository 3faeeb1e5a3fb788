"""A strong model for the worked domains: reasoning-gym's `aiw` and tiny functions. A teacher plug-in, and an example.

Like the world's own strong model it reads the question and nothing else, and has faults: vague candidates, and leaks.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

from sgpo.strategies.schema import CRITERIA
from sgpo.strategies.teacher.teacher import Completion, Message, RequestRefusedError
from sgpo.testbed.functions import family_of

Parts = tuple[str, str, tuple[str, ...]]

_SIBLINGS: Parts = (
    "Siblings seen from a brother",
    "The sisters of a woman's brother are her own sisters and the woman herself.",
    ("Take the number of her sisters and leave the brothers aside.", "Add the woman herself.", "Give the sum."),
)
_FRIENDS: Parts = (
    "Friends in a closed circle, seen from one of them",
    "All are friends with each other, so the female friends of a man are hers and she herself.",
    ("Take the number of her female friends and leave the male ones aside.", "Add the woman herself.", "Give the sum."),
)
_COLLEAGUES: Parts = (
    "Two circles of colleagues with one member in both",
    "Who is in the first woman's circle has that woman and the others of it as female colleagues.",
    ("Leave the circle around the man aside, and all male colleagues.",
     "In her circle replace the member that is asked about by the woman herself.", "Add what the circle says of it."),
)  # fmt: skip
_VAGUE: Parts = ("Word problem", "Think about it with care.", ("Read.", "Reason.", "Answer."))


class DomainTeacher:
    """Answers, writes strategies and ranks them, as a function of messages and seed."""

    name, max_tokens = "domain-teacher", 4096

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Complete one of the three requests. Raises RequestRefusedError for a question of another kind."""
        prompt = messages[-1].content
        choose = random.Random(f"{seed}/{prompt}")
        found = re.search(r"<problem>\n(.*?)\n</problem>", prompt, re.DOTALL)
        question = found[1] if found else ""
        try:
            if prompt.startswith("Answer"):
                text = _respond(question)
            elif prompt.startswith("Write"):
                text = _candidate(question, choose)
            else:
                text = _ranking(prompt, choose)
        except LookupError:
            raise RequestRefusedError(f"{self.name}: neither aiw nor a tiny function: {question[:60]!r}") from None
        return Completion(text, prompt_tokens=len(prompt.split()), completion_tokens=len(text.split()))


def _respond(question: str) -> str:
    if "Python function" in question:
        raise LookupError("tiny functions come with a response")
    woman, count = _counted(question)
    whom = "sisters" if "sisters" in question else "female friends" if "friends" in question else "female colleagues"
    return (
        f"{woman} has {count} {whom}, and {woman} herself is one more. So it is {count} + 1 = {count + 1}.\n"
        f"<answer>\n{count + 1}\n</answer>"
    )


def _counted(question: str) -> tuple[str, int]:
    """Return the woman of an aiw question, and the number in it that counts."""
    pattern = r"(\w+) has .*?(\d+) (?:sisters|female friends|female colleagues)"
    found = re.search(pattern, question, re.DOTALL)
    if found is None:
        raise LookupError(question)
    return found[1], int(found[2])


def _candidate(question: str, choose: random.Random) -> str:
    if "Python function" in question:
        parts = family_of(question).strategy
    elif "sisters" in question:
        parts = _SIBLINGS
    elif "friends" in question:
        parts = _FRIENDS
    elif "colleagues" in question:
        parts = _COLLEAGUES
    else:
        raise LookupError(question)
    kind, approach, steps = parts if choose.random() < 0.8 else _VAGUE
    order = choose.choice(("", "Name what is asked for. ", "Read to the end first. "))
    return "\n".join(
        [
            f"Problem type: {kind}",
            f"Strategy: {order}{approach}",
            "Steps:",
            *(f"{n}. {s}" for n, s in enumerate(steps, 1)),
        ]
    )


def _ranking(prompt: str, choose: random.Random) -> str:
    blocks = re.findall(r'<candidate index="(\d+)">\n(.*?)\n</candidate>', prompt, re.DOTALL)
    rows = []
    for index, text in blocks:
        best = 0.3 if _VAGUE[0] in text else 0.95
        rows.append({"index": int(index), **{name: round(best - choose.uniform(0.0, 0.1), 2) for name in CRITERIA}})
    return json.dumps(rows)
