"""Measuring a model: k responses for every problem, verified, each an outcome; resumable by the problem."""

from collections.abc import Iterator, Sequence

from sgpo.config import SamplingConfig
from sgpo.evaluation.outcomes import outcome_of, row_of
from sgpo.evaluation.scores import Outcome
from sgpo.jsonl import JsonlFile
from sgpo.problems import Problem
from sgpo.problems.tiers import tiers_of
from sgpo.progress import progress_bar
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes, ProblemSamples

EVALUATION_STEP = -1
"""The step that evaluation seeds are derived from: every model is asked with the same seeds."""


def measure(
    sampler: Sampler,
    problems: Sequence[Problem],
    k: int,
    sampling: SamplingConfig,
    description: str,
    journal: JsonlFile | None = None,
) -> list[Outcome]:
    """Return the outcome of k autonomous responses to each problem, in the order given.

    With a `journal` (`open_journal`) each outcome is kept as soon as it is known, and not measured again.
    """
    done = {row["problem_id"]: outcome_of(row) for row in (journal.rows[1:] if journal else ())}
    missing, tiers = [problem for problem in problems if problem.id not in done], tiers_of(problems)
    for problem, drawn in zip(
        missing, draw(sampler, missing, GroupSizes(k, 0), sampling, description, len(done)), strict=True
    ):
        outcome = Outcome(problem.id, tiers[problem.id], tuple(rollout.reward for rollout in drawn.autonomous))
        done[problem.id] = outcome
        if journal is not None:
            journal.append(row_of(outcome))
    return [done[problem.id] for problem in problems]


def draw(
    sampler: Sampler,
    problems: Sequence[Problem],
    sizes: GroupSizes,
    sampling: SamplingConfig,
    description: str,
    before: int = 0,
) -> Iterator[ProblemSamples]:
    """Both groups of every problem, in chunks of about one engine batch so that progress shows.

    `before` is how many problems were done earlier, for the bar.
    """
    chunk = max(1, sampling.batch_size // max(1, sizes.autonomous + sizes.guided))
    with progress_bar(before + len(problems), description, before, "problem") as bar:
        for start in range(0, len(problems), chunk):
            part = list(problems[start : start + chunk])
            yield from sampler.sample(part, sizes, sampling, EVALUATION_STEP)[0]
            bar.update(len(part))
