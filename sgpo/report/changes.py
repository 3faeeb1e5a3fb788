"""Which problems got better and which worse, with an answer of both models side by side, where that was kept."""

from dataclasses import dataclass
from typing import Any

from sgpo.amounts import counted
from sgpo.problems.domains.registry import MATH
from sgpo.report.answers import answer_in_words
from sgpo.report.run_record import RunRecord, read_lines

FILE = "evaluation/better_worse.jsonl"
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer: whether it counts, why in a few words, and its text."""

    right: bool
    why: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """A problem on which the models differ: its share of right answers of both, and one answer of each."""

    problem: str
    tier: str
    question: str
    gold: str
    champion: float
    challenger: float
    champion_answer: Answer | None
    challenger_answer: Answer | None


def read_changes(record: RunRecord) -> tuple[list[Change], list[Change]]:
    """Return the problems that got worse and those that got better, the largest change first."""
    worse, better, unreadable = list[Change](), list[Change](), 0
    if not (record.folder / FILE).is_file():
        if record.comparison is not None:
            record.notes.append(f"No {FILE}: which problems got better or worse is not listed.")
        return worse, better
    for row in read_lines(record, record.folder / FILE):
        try:
            (worse if row["change"] == "worse" else better).append(_change(row))
        except (AttributeError, KeyError, TypeError, ValueError):
            unreadable += 1
    if unreadable:
        record.notes.append(f"{FILE}: {counted(unreadable, 'problem')} not as this version writes them: left out.")
    return worse, better


def _change(row: dict[str, Any]) -> Change:
    domain = str(row.get("domain") or MATH)
    return Change(
        problem=str(row["problem_id"]),
        tier=str(row["tier"]),
        question=str(row.get("question") or ""),
        gold=str(row.get("gold") or ""),
        champion=float(row["champion"]),
        challenger=float(row["challenger"]),
        champion_answer=_answer(row.get("champion_answer"), domain),
        challenger_answer=_answer(row.get("challenger_answer"), domain),
    )


def _answer(row: dict[str, Any] | None, domain: str) -> Answer | None:
    if row is None:
        return None
    return Answer(float(row["reward"]) > 0, answer_in_words(row, domain), str(row["text"]))
