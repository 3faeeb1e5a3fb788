"""The wording of the world: surface stories, the phrases that tell which plan is right, and reading them back."""

import random
import re
from dataclasses import dataclass
from functools import lru_cache

from sgpo.testbed.decisions import DECISIONS, FEWEST, Decision, Option, Place
from sgpo.testbed.ledger import ORDINALS, Ledger
from sgpo.testbed.plans import Plan


class QuestionError(ValueError):
    """A text that is not a question of this world."""


@dataclass(frozen=True, slots=True)
class Story:
    """One surface: where the things are and what they are called."""

    place: str
    things: str


STORIES: tuple[Story, ...] = (
    Story("bakery", "loaves"),
    Story("bus", "riders"),
    Story("library", "books"),
    Story("harbor", "boats"),
    Story("barn", "crates"),
    Story("garage", "cars"),
)

CAPACITY = ("The {place} has room for {capacity} {things}.", "At most {capacity} {things} fit in the {place}.")
LOG = ("The log reads {changes}.", "The notes say {changes}.")
PLAIN_QUESTION = ("What was the count at the other end?", "Give the count at the other end.")
"""Asked where the finish is not in play."""


def ask(ledger: Ledger, plan: Plan, story: Story, choose: random.Random) -> str:
    """Return a question about `ledger` for which `plan` is the right one."""
    values = {
        "place": story.place,
        "things": story.things,
        "capacity": ledger.capacity,
        "known": ledger.known,
        "changes": ", ".join(f"{name} {change}" for name, change in zip(ORDINALS, ledger.changes, strict=False)),
    }
    before = [plan.options[decision.name].asked for decision in plan.decisions if decision.before_log]
    after = [plan.options[decision.name].asked for decision in plan.decisions if not decision.before_log]
    asked = any(decision.place == Place.FINISH for decision in plan.decisions)
    parts = [CAPACITY, *before, LOG, *after, *(() if asked else (PLAIN_QUESTION,))]
    return " ".join(choose.choice(phrases).format(**values) for phrases in parts)


def read(question: str) -> tuple[Ledger, Plan]:
    """Return the ledger and the right plan of a question of this world; raises QuestionError for any other text."""
    capacity, log = _find(CAPACITY, question), _find(LOG, question)
    worded = [(decision, *found) for decision in DECISIONS if (found := _find_option(decision, question))]
    values = {name: value for _, _, match in worded for name, value in match.groupdict().items()}
    decisions = [decision for decision, _, _ in worded]
    asked = any(decision.place == Place.FINISH for decision in decisions) or _find(PLAIN_QUESTION, question)
    whole = len(decisions) >= FEWEST and decisions == [*DECISIONS[: len(decisions)]]
    if capacity is None or log is None or not asked or not whole:
        raise QuestionError(f"not a question of the testbed world: {question!r}")
    ledger = Ledger(
        capacity=int(capacity["capacity"]),
        known=int(values["known"]),
        changes=tuple(int(entry.split(" ")[1]) for entry in log["changes"].split(", ")),
    )
    return ledger, Plan(tuple(option.name for _, option, _ in worded))


_VALUES = {
    "place": "|".join(story.place for story in STORIES),
    "things": "|".join(story.things for story in STORIES),
    "capacity": r"\d+",
    "known": r"\d+",
    "changes": rf"{ORDINALS[0]} \d+(?:, (?:{'|'.join(ORDINALS)}) \d+)*",
}


@lru_cache
def _pattern(phrases: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Return each phrase as a whole sentence, with groups named as its values."""
    patterns = []
    for phrase in phrases:
        text = re.escape(phrase)
        for name, value in _VALUES.items():
            text = text.replace(re.escape("{" + name + "}"), f"(?P<{name}>{value})")
        patterns.append(re.compile(rf"(?:^|(?<=[.?] )){text}(?= |$)"))
    return tuple(patterns)


def _find(phrases: tuple[str, ...], question: str) -> re.Match[str] | None:
    return next((match for pattern in _pattern(phrases) if (match := pattern.search(question))), None)


def _find_option(decision: Decision, question: str) -> tuple[Option, re.Match[str]] | None:
    found = ((option, _find(option.asked, question)) for option in decision.options)
    return next(((option, match) for option, match in found if match), None)
