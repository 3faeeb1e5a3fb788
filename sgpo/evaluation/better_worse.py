"""Which problems got better and which got worse from champion to challenger, with an answer of both side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sgpo.amounts import counted
from sgpo.evaluation.answers import KeptAnswer, read_answers
from sgpo.evaluation.outcomes import required_outcomes
from sgpo.evaluation.scores import Outcome, mean_lenient, mean_reward
from sgpo.files import publish_file

FILE = "better_worse.jsonl"


class ShownAnswer(BaseModel):
    """A response, what was taken as its answer, and why it counts or does not (`sgpo.evaluation.answers`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    extracted: str | None
    reason: str
    finish_reason: str
    reward: float
    lenient: float | None


class ChangedProblem(BaseModel):
    """A problem on which two models differ: avg@k of both, strict and lenient, and one answer of each.

    The answers are those of the same number among the k, drawn with the same seed: the first for which the models
    differ as they do on the whole. Question, gold and answers are None where they were not kept, as by older versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    change: Literal["better", "worse"]
    problem_id: str
    tier: str
    question: str | None
    gold: str | None
    k: int
    champion: float
    challenger: float
    champion_lenient: float | None
    challenger_lenient: float | None
    number: int
    champion_answer: ShownAnswer | None
    challenger_answer: ShownAnswer | None
    domain: str = "math"


def better_worse(
    champion: Sequence[Outcome],
    challenger: Sequence[Outcome],
    champion_answers: Sequence[KeptAnswer] = (),
    challenger_answers: Sequence[KeptAnswer] = (),
) -> list[ChangedProblem]:
    """Return the problems that got better, then those that got worse, the largest change first, ties by id.

    Both models have answered the same problems (`sgpo.evaluation.compare` checks).
    """
    kept = tuple(
        {(answer.problem_id, answer.number): answer for answer in answers}
        for answers in (champion_answers, challenger_answers)
    )
    before = {outcome.problem_id: outcome for outcome in champion}
    rows = [_changed(before[outcome.problem_id], outcome, *kept) for outcome in challenger]
    changed = [row for row in rows if row is not None]
    return sorted(changed, key=lambda row: (row.change == "worse", -abs(row.challenger - row.champion), row.problem_id))


def write_better_worse(champion: Path, challenger: Path, output: Path) -> list[ChangedProblem]:
    """Write what two files of outcomes differ in as JSONL, a problem a line, and return it.

    Raises EvaluationError for a file that is not there.
    """
    rows = better_worse(
        required_outcomes(champion), required_outcomes(challenger), read_answers(champion) or (),
        read_answers(challenger) or (),
    )  # fmt: skip
    with publish_file(output) as aside:
        aside.write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    return rows


def read_better_worse(path: Path) -> list[ChangedProblem]:
    """Return what `write_better_worse` wrote."""
    with path.open(encoding="utf-8") as stream:
        return [ChangedProblem.model_validate_json(line) for line in stream]


def describe_better_worse(rows: Sequence[ChangedProblem]) -> str:
    """Return how many problems changed, and whether there are answers to read, in a line."""
    better = sum(row.change == "better" for row in rows)
    without = sum(row.champion_answer is None or row.challenger_answer is None for row in rows)
    missing = f"; {without} without answers, which an older version did not keep" if without else ""
    return f"{counted(better, 'problem')} got better, {len(rows) - better} worse{missing}"


_Kept = Mapping[tuple[str, int], KeptAnswer]


def _changed(
    champion: Outcome, challenger: Outcome, champion_kept: _Kept, challenger_kept: _Kept
) -> ChangedProblem | None:
    change = mean_reward(challenger) - mean_reward(champion)
    if change == 0.0:
        return None
    number = next(
        place
        for place, (before, now) in enumerate(zip(champion.rewards, challenger.rewards, strict=True))
        if (now - before) * change > 0.0
    )
    key = champion.problem_id, number
    answers = champion_kept.get(key), challenger_kept.get(key)
    known = answers[0] or answers[1]
    return ChangedProblem(
        change="better" if change > 0.0 else "worse",
        problem_id=champion.problem_id,
        tier=champion.tier,
        question=known.question if known else None,
        gold=known.gold if known else None,
        k=len(champion.rewards),
        champion=mean_reward(champion),
        challenger=mean_reward(challenger),
        champion_lenient=None if champion.lenient is None else mean_lenient(champion),
        challenger_lenient=None if challenger.lenient is None else mean_lenient(challenger),
        number=number,
        champion_answer=_shown(answers[0]),
        challenger_answer=_shown(answers[1]),
        domain=known.domain if known else "math",
    )


def _shown(answer: KeptAnswer | None) -> ShownAnswer | None:
    if answer is None:
        return None
    return ShownAnswer(
        text=answer.text, extracted=answer.extracted, reason=answer.reason, finish_reason=answer.finish_reason,
        reward=answer.reward, lenient=answer.lenient,
    )  # fmt: skip
