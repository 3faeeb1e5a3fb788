"""The answers that a run has kept: rollouts of training, and what champion and challenger said in the evaluation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sgpo.errors import UserError
from sgpo.evaluation.answers import KeptAnswer
from sgpo.problems.domains.registry import MATH
from sgpo.problems.table import read_table
from sgpo.report.answers import answer_in_words
from sgpo.report.run_record import RunRecord, read_lines, read_run
from sgpo.rollouts.schema import KeptRollout

Verdict = Literal["right", "wrong", "cut"]
_SUFFIX = ".answers.parquet"


class KeptAnswersError(UserError):
    """A place without kept answers, or a number that none of them has."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer. `number` is its place among all that the run has kept, from 1, whatever is filtered.

    `source` is "step 11" (of training, counted from 1), "champion", "challenger" or "probe"; `why` says in words what
    the verdict's `reason` says.
    """

    number: int
    source: str
    group: str
    problem_id: str
    domain: str
    question: str
    gold: str
    text: str
    extracted: str | None
    reward: float
    reason: str
    finish_reason: str
    tokens: int
    seed: int

    @property
    def verdict(self) -> Verdict:
        """Return whether it counts, or was cut before it could."""
        if self.reward > 0:
            return "right"
        return "cut" if self.finish_reason == "length" else "wrong"

    @property
    def why(self) -> str:
        """Return why it does or does not count, in words."""
        return answer_in_words(asdict(self), self.domain)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "verdict": self.verdict, "why": self.why}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says which answers are looked for; None: any. `problem` is the beginning of an id, or words of the question."""

    problem: str | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    source: str | None = None
    group: str | None = None
    shortest: int = 0
    longest: int | None = None

    def matches(self, answer: Kept) -> bool:
        """Return whether an answer is one of those."""
        text = (self.problem or "").casefold()
        return (
            (answer.problem_id.casefold().startswith(text) or text in answer.question.casefold())
            and self.verdict in (None, answer.verdict)
            and self.reason in (None, answer.reason)
            and (self.source is None or answer.source == self.source or answer.source.split()[0] == self.source)
            and self.group in (None, answer.group)
            and self.shortest <= answer.tokens
            and (self.longest is None or answer.tokens <= self.longest)
        )


def read_kept(place: Path) -> tuple[list[Kept], list[str]]:
    """Return the answers of a run directory, or of one file of them, and what could not be read, one line each.

    Raises KeptAnswersError where none are kept, ReportError for a folder that is no run's.
    """
    if not place.exists():
        raise KeptAnswersError(f"{place}: no such file or folder (expected a run directory, such as runs/demo-001)")
    record = RunRecord(place.parent) if place.is_file() else read_run(place, traces=False)
    record.notes = []
    found = _of_file(record, place) if place.is_file() else [*_of_training(record), *_of_evaluation(record)]
    kept = [Kept(number, **row) for number, row in enumerate(found, start=1)]
    if not kept:
        raise KeptAnswersError(
            f"{place}: no answers are kept (expected rollouts/step-*.jsonl, which training writes each "
            f"training.log_rollouts_every steps, or evaluation/*{_SUFFIX}, or a file of the probe)"
            + "".join(f"; {note}" for note in record.notes)
        )
    return kept, record.notes


def pick(kept: Sequence[Kept], numbers: Iterable[int]) -> list[Kept]:
    """Return the answers with these numbers. Raises KeptAnswersError for a number that there is not."""
    found = []
    for number in numbers:
        if not 1 <= number <= len(kept):
            raise KeptAnswersError(f"no answer {number} (expected 1 to {len(kept)}; the list has the numbers)")
        found.append(kept[number - 1])
    return found


def check_source(kept: Sequence[Kept], source: str | None) -> None:
    """Raise KeptAnswersError, with those that there are, where no answer is from `source`; None is any."""
    if source is not None and not any(Wanted(source=source).matches(one) for one in kept):
        there = dict.fromkeys(one.source for one in kept)
        raise KeptAnswersError(f"no answer is from '{source}' (expected one of: {', '.join(there)})")


def _of_file(record: RunRecord, file: Path) -> list[dict[str, Any]]:
    if file.name.endswith(_SUFFIX):
        return list(_of_table(file, KeptAnswer))
    if file.suffix == ".parquet":
        return list(_of_table(file, KeptRollout))
    return list(_whole(record, _rollouts(record, file), file.name))


def _of_training(record: RunRecord) -> Iterator[dict[str, Any]]:
    files = sorted((record.folder / "rollouts").glob("step-*.jsonl"))
    return _whole(record, (row for file in files for row in _rollouts(record, file)), "rollouts/")


def _of_evaluation(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield the answers of the evaluation; a file that cannot be read costs itself and becomes a note."""
    for file in sorted((record.folder / "evaluation").glob(f"*{_SUFFIX}")):
        try:
            yield from list(_of_table(file, KeptAnswer))
        except UserError as error:
            record.notes.append(f"evaluation/: {error}: left out.")


def _whole(record: RunRecord, rows: Iterable[dict[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    unreadable = 0
    for row in rows:
        if row:
            yield row
        else:
            unreadable += 1
    if unreadable:
        record.notes.append(f"{where}: {unreadable} are not as this version writes them: left out.")


def _rollouts(record: RunRecord, file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rollouts of a step's file; nothing in the place of one that cannot be read."""
    step = file.stem.removeprefix("step-")
    source = f"step {int(step) + 1}" if step.isdecimal() and step != file.stem else file.stem
    for row in read_lines(record, file):
        try:
            yield {
                **{name: str(row[name]) for name in ("group", "problem_id", "text", "finish_reason")},
                "reward": float(row["reward"]),
                "seed": row["seed"],
                **{name: str(row.get(name) or "") for name in ("question", "gold", "reason")},
                "domain": str(row.get("domain") or MATH),
                "extracted": row.get("extracted"),
                "tokens": len(row["token_ids"]),
                "source": source,
            }
        except (KeyError, TypeError, ValueError):
            yield {}


def _of_table(file: Path, model: type[KeptAnswer] | type[KeptRollout]) -> Iterator[dict[str, Any]]:
    source = file.name.removesuffix(_SUFFIX).removesuffix(".parquet").removesuffix("_rollouts")
    names = (
        "problem_id",
        "domain",
        "question",
        "gold",
        "text",
        "extracted",
        "reward",
        "reason",
        "finish_reason",
        "seed",
    )
    for row in read_table(file, model):
        yield {
            **{name: getattr(row, name) for name in names},
            "group": "autonomous" if isinstance(row, KeptAnswer) else row.group,
            "tokens": row.tokens if isinstance(row, KeptAnswer) else len(row.token_ids),
            "source": source,
        }
