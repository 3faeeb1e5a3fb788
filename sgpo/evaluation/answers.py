"""The answers behind the outcomes: every response with what was taken from it and why, a table beside the outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sgpo.problems.table import read_table, write_table
from sgpo.rollouts.schema import FinishReason, ProblemSamples


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One response of an evaluation. `number` is its place among the k of its problem, from 0: the same seed for all.

    `extracted` is what was taken as its answer, `reason` the verdict's reason (docs/verifier.md); a response that was
    cut (`finish_reason` is `length`) has the reward 0 whatever its verdict. `tokens` is its length.
    """

    problem_id: str
    tier: str
    question: str
    gold: str
    number: int
    text: str
    extracted: str | None
    reason: str
    finish_reason: FinishReason
    reward: float
    lenient: float | None
    tokens: int
    seed: int
    domain: str = "math"


def answers_of(samples: ProblemSamples, tier: str) -> list[KeptAnswer]:
    """Return the autonomous responses of a problem, in the order of their numbers."""
    return [
        KeptAnswer(
            samples.problem_id, tier, samples.question, samples.gold, number, rollout.text, rollout.extracted,
            rollout.reason, rollout.finish_reason, rollout.reward, rollout.lenient, len(rollout.token_ids),
            rollout.seed, samples.domain,
        )
        for number, rollout in enumerate(samples.autonomous)
    ]  # fmt: skip


def answers_path(outcomes: Path) -> Path:
    """Return where the answers of a file of outcomes are: `champion.answers.parquet` beside `champion.jsonl`."""
    return outcomes.with_name(f"{outcomes.stem}.answers.parquet")


def write_answers(answers: Sequence[KeptAnswer], outcomes: Path) -> None:
    """Write the answers of a file of outcomes, whole or not at all."""
    write_table(answers, answers_path(outcomes), KeptAnswer)


def read_answers(outcomes: Path) -> list[KeptAnswer] | None:
    """Return the answers of a file of outcomes; None where none were kept, as by older versions."""
    path = answers_path(outcomes)
    return read_table(path, KeptAnswer) if path.is_file() else None
