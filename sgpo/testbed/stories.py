"""The wording of the world: surface stories, the phrases that tell which plan is right, and reading them back."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from sgpo.testbed.ledger import Direction, Finish, Ledger, Pattern, Plan


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

KNOWN: dict[Direction, tuple[str, ...]] = {
    "forward": (
        "It opened with {known}.",
        "At first it held {known}.",
        "The day began with {known}.",
        "Early on it had {known}.",
    ),
    "reverse": (
        "It closed with {known}.",
        "At last it held {known}.",
        "The day ended with {known}.",
        "Late on it had {known}.",
    ),
}

LOG = ("The log reads {changes}.", "The notes say {changes}.")

PATTERN: dict[Pattern, tuple[str, ...]] = {
    "steady": (
        "Every entry came in.",
        "All entries were arrivals.",
        "Each entry was one more arrival.",
        "Nothing ever went out.",
    ),
    "swing": (
        "Entries came in and went out.",
        "Entries were arrivals, then departures.",
        "Each entry undid some of the last.",
        "Every other one went out.",
    ),
}

QUESTION: dict[Finish, tuple[str, ...]] = {
    "count": (
        "How many {things} were there at the other end?",
        "Find the {things} at the other end.",
        "What did it hold at the other end?",
    ),
    "room": (
        "How many more {things} could fit at the other end?",
        "Find the room at the other end.",
        "What was free at the other end?",
    ),
}


def ask(ledger: Ledger, plan: Plan, story: Story, choose: random.Random) -> str:
    """Return a question about `ledger` for which `plan` is the right one."""
    values = {
        "place": story.place,
        "things": story.things,
        "capacity": ledger.capacity,
        "known": ledger.known,
        "changes": ", ".join(map(str, ledger.changes)),
    }
    parts = (CAPACITY, KNOWN[plan.direction], LOG, PATTERN[plan.pattern], QUESTION[plan.finish])
    return " ".join(choose.choice(phrases).format(**values) for phrases in parts)


def read(question: str) -> tuple[Ledger, Plan]:
    """Return the ledger and the right plan of a question of this world; raises QuestionError for any other text."""
    capacity = _find(CAPACITY, question)
    log = _find(LOG, question)
    direction, known = _find_key(KNOWN, question)
    pattern, _ = _find_key(PATTERN, question)
    finish, _ = _find_key(QUESTION, question)
    if capacity is None or log is None:
        raise QuestionError(f"not a question of the testbed world: {question!r}")
    ledger = Ledger(
        capacity=int(capacity["capacity"]),
        known=int(known["known"]),
        changes=tuple(int(number) for number in log["changes"].split(", ")),
    )
    return ledger, Plan(direction, pattern, finish)


_VALUES = {
    "place": "|".join(story.place for story in STORIES),
    "things": "|".join(story.things for story in STORIES),
    "capacity": r"\d+",
    "known": r"\d+",
    "changes": r"\d+(?:, \d+)*",
}

KeyT = TypeVar("KeyT")


def _find(phrases: tuple[str, ...], question: str) -> re.Match[str] | None:
    for phrase in phrases:
        pattern = re.escape(phrase)
        for name, value in _VALUES.items():
            pattern = pattern.replace(re.escape("{" + name + "}"), f"(?P<{name}>{value})")
        if match := re.search(pattern, question):
            return match
    return None


def _find_key(table: Mapping[KeyT, tuple[str, ...]], question: str) -> tuple[KeyT, re.Match[str]]:
    for key, phrases in table.items():
        if (match := _find(phrases, question)) is not None:
            return key, match
    raise QuestionError(f"not a question of the testbed world: {question!r}")
