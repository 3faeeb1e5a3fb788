"""The decisions of the world, one entry each: two options, and for each option its words and its effect.

A world of D decisions has the first D entries of DECISIONS in play. To add a decision, add an entry: questions, traces,
strategies and answers are made from the table, and the tests go over it. An effect must be linear in the numbers
of the ledger (fairness.py), and the ledger's ranges must leave room for twice as many answers (world.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum


class Place(IntEnum):
    """Where in a trace a decision is carried out, in the order of the trace."""

    START = 1  # after the known count is written down
    FIRST = 2  # before the first entry
    MOVES = 3  # by the verbs of the entries' sentences
    LAST = 4  # after the last entry
    FINISH = 5  # by the sentence that gives the answer


@dataclass(frozen=True, slots=True)
class Working:
    """A ledger being worked: the count that the moves start from, the moves, and whether the room left is asked."""

    start: int
    moves: tuple[int, ...]
    """Signed changes of the count, one for each entry that is followed."""
    after: tuple[int, ...] = ()
    """Moves after the log."""
    room: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One way to decide: what it does to a Working, and its words.

    `asked`: sentences of a question that call for it. `fact`: how a trace reads them. `said`: sentences of a trace that
    carry it out; none where verbs do. `told`: steps of a strategy. `name`: its word in a plan; `title`: in the
    strategy's name. First words of `said` differ from
    option to option.
    """

    name: str
    asked: tuple[str, ...]
    fact: tuple[str, ...]
    told: tuple[str, ...]
    said: tuple[str, ...] = ()
    title: str = ""
    effect: Callable[[Working], Working] = lambda working: working


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice that only the wording of the question tells; a world without it has its first option."""

    name: str
    place: Place
    options: tuple[Option, Option]
    before_log: bool = False
    """Whether the question words it before the log."""
    spends: int = 0
    """Entries that an option leaves out, from the first; a world with this decision has logs longer by as many."""


DIRECTION = Decision(
    "direction", Place.MOVES, before_log=True,
    options=(
        Option(
            "forward", title="Forward",
            asked=(
                "It opened with {known}.", "At first it held {known}.", "The day began with {known}.",
                "Early on it had {known}.",
            ),
            fact=("first count known", "first count given"),
            told=("Run the log forward.", "Carry the count ahead."),
        ),
        Option(
            "reverse", title="Reverse",
            asked=(
                "It closed with {known}.", "At last it held {known}.", "The day ended with {known}.",
                "Late on it had {known}.",
            ),
            fact=("last count known", "last count given"),
            told=("Undo the log.", "Turn every change around."),
            effect=lambda working: replace(working, moves=tuple(-move for move in working.moves)),
        ),
    ),
)  # fmt: skip

PATTERN = Decision(
    "pattern", Place.MOVES,
    options=(
        Option(
            "steady", title="sum",
            asked=(
                "Every entry came in.", "All entries were arrivals.", "Each entry was one more arrival.",
                "Nothing ever went out.",
            ),
            fact=("all came in", "nothing left"),
            told=("Treat every entry alike.", "Keep to one sign throughout."),
        ),
        Option(
            "swing", title="swing",
            asked=(
                "Entries came in and went out.", "Entries were arrivals, then departures.",
                "Each entry undid some of the last.", "Every other one went out.",
            ),
            fact=("some left again", "it went both ways"),
            told=("Change the sign by turns.", "Let the entries alternate."),
            effect=lambda working: replace(
                working, moves=tuple(-move if index % 2 else move for index, move in enumerate(working.moves))
            ),
        ),
    ),
)  # fmt: skip

FINISH = Decision(
    "finish", Place.FINISH,
    options=(
        Option(
            "count",
            asked=(
                "How many {things} were there at the other end?", "Find the {things} at the other end.",
                "What did it hold at the other end?",
            ),
            fact=("count asked", "count wanted"),
            told=("Give the count.", "State the count itself."),
            said=("That is the count, {answer}.", "It stands at {answer}.", "This leaves {answer}."),
        ),
        Option(
            "room", title="to the rim",
            asked=(
                "How many more {things} could fit at the other end?", "Find the room at the other end.",
                "What was free at the other end?",
            ),
            fact=("room asked", "room wanted"),
            told=("Compare with the capacity.", "Give what is free."),
            said=(
                "Free is {capacity} less {count}, or {answer}.", "Room is {capacity} less {count}, or {answer}.",
                "Left is {capacity} less {count}, or {answer}.",
            ),
            effect=lambda working: replace(working, room=True),
        ),
    ),
)  # fmt: skip

FIRST = Decision(
    "first", Place.FIRST, spends=1,
    options=(
        Option(
            "valid",
            asked=(
                "The first entry is right.", "Even the first entry stands.", "No entry is a mistake.",
                "The log has no errors.",
            ),
            fact=("first entry good", "first entry right"),
            told=("Keep the first entry.", "Use the first entry too."),
            said=("Keep {first}.", "Accept {first}.", "Trust {first}."),
        ),
        Option(
            "void", title="late",
            asked=(
                "The first entry is void.", "The first entry was a mistake.", "Someone made up the first entry.",
                "The log has one error, the first.",
            ),
            fact=("first entry void", "first entry wrong"),
            told=("Skip the first entry.", "Begin at the second entry."),
            said=("Strike {first}.", "Skip {first}.", "Cross out {first}."),
            effect=lambda working: replace(working, moves=working.moves[1:]),
        ),
    ),
)  # fmt: skip

LAST = Decision(
    "last", Place.LAST,
    options=(
        Option(
            "once",
            asked=(
                "The last entry closed the log.", "After the last entry all was quiet.", "No trip is missing.",
                "The log is complete.",
            ),
            fact=("last entry once", "nothing missing"),
            told=("Stop after the last entry.", "Use the last entry once."),
            said=("No more.", "Nothing follows.", "Done."),
        ),
        Option(
            "again", title="with echo",
            asked=(
                "The last entry happened twice.", "After the last entry came its like.", "One last trip is missing.",
                "The log lacks a second last trip.",
            ),
            fact=("last entry twice", "one missing"),
            told=("Repeat the last entry.", "Use the last entry twice."),
            said=("Once more.", "Again.", "Repeat."),
            effect=lambda working: replace(working, after=working.moves[-1:]),
        ),
    ),
)  # fmt: skip

UNIT = Decision(
    "unit", Place.START, before_log=True,
    options=(
        Option(
            "single",
            asked=(
                "Its count is taken in singles.", "People there count one by one.", "The keeper counts singles.",
                "One count means one.",
            ),
            fact=("single count", "counted by one"),
            told=("Keep the known count.", "Start from the count itself."),
            said=("Singles stay.", "Leave it.", "So {start}."),
        ),
        Option(
            "pair", title="paired",
            asked=(
                "Its count is taken in pairs.", "People there count two by two.", "The keeper counts pairs.",
                "One count means two.",
            ),
            fact=("pair count", "counted by two"),
            told=("Double the known count.", "Start from twice the count."),
            said=("Pairs make {start}.", "Double to {start}.", "Twice is {start}."),
            effect=lambda working: replace(working, start=2 * working.start),
        ),
    ),
)  # fmt: skip

DECISIONS: tuple[Decision, ...] = (DIRECTION, PATTERN, FINISH, FIRST, LAST, UNIT)
FEWEST, USUAL = 2, 3
"""Decisions of the smallest world, and of one that says nothing else."""


def in_order(decisions: tuple[Decision, ...]) -> list[Decision]:
    """Return decisions in the order in which a trace carries them out."""
    return sorted(decisions, key=lambda decision: decision.place)
