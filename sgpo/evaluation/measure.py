"""Measuring a model: k responses for every problem, verified, each an outcome; resumable by the problem."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from sgpo.config import SamplingConfig
from sgpo.evaluation.scores import Outcome
from sgpo.files import publish_file
from sgpo.problems import Problem
from sgpo.rollouts.groups import GroupSizes, ProblemSamples, Sampler

EVALUATION_STEP = -1
"""The step that evaluation seeds are derived from: every model is asked with the same seeds."""


def measure(
    sampler: Sampler, problems: Sequence[Problem], k: int, sampling: SamplingConfig, description: str
) -> list[Outcome]:
    """The outcome of k autonomous responses to each problem, in the order given."""
    samples = draw(sampler, problems, GroupSizes(k, 0), sampling, description)
    return [
        Outcome(problem.id, tier_of(problem), tuple(rollout.reward for rollout in drawn.autonomous))
        for problem, drawn in zip(problems, samples, strict=True)
    ]


def draw(
    sampler: Sampler, problems: Sequence[Problem], sizes: GroupSizes, sampling: SamplingConfig, description: str
) -> list[ProblemSamples]:
    """Both groups of every problem, in chunks of about one engine batch so that progress shows."""
    chunk = max(1, sampling.batch_size // max(1, sizes.autonomous + sizes.guided))
    samples: list[ProblemSamples] = []
    with tqdm(total=len(problems), desc=description, disable=None, unit="problem") as bar:
        for start in range(0, len(problems), chunk):
            part = list(problems[start : start + chunk])
            samples += sampler.sample(part, sizes, sampling, EVALUATION_STEP)[0]
            bar.update(len(part))
    return samples


def tier_of(problem: Problem) -> str:
    """What a result is broken down by: the level of difficulty, else where the problem comes from."""
    if problem.difficulty is not None:
        return f"tier {problem.difficulty}"
    return problem.source or "all"


def write_outcomes(outcomes: Sequence[Outcome], path: Path, about: Mapping[str, str]) -> None:
    """Outcomes as JSONL; the first line says what was measured, so that a re-run can tell whether it still holds."""
    with publish_file(path) as aside, aside.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({"about": dict(about)}) + "\n")
        for outcome in outcomes:
            row = {"problem_id": outcome.problem_id, "tier": outcome.tier, "rewards": list(outcome.rewards)}
            stream.write(json.dumps(row) + "\n")


def read_outcomes(path: Path, about: Mapping[str, str] | None = None) -> list[Outcome] | None:
    """Outcomes from `path`; None when there is no such file, or it is about something else than `about`."""
    if not path.is_file():
        return None
    first, *rows = path.read_text(encoding="utf-8").splitlines()
    if about is not None and json.loads(first)["about"] != dict(about):
        return None
    parsed = [json.loads(row) for row in rows]
    return [Outcome(row["problem_id"], row["tier"], tuple(row["rewards"])) for row in parsed]
