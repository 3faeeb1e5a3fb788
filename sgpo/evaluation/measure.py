"""Measuring a model: k responses for every problem, verified, each an outcome; resumable by the problem."""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from sgpo.config import SamplingConfig
from sgpo.evaluation.scores import Outcome
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
