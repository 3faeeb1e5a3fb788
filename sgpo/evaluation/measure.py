"""Measuring a model: k responses for every problem, verified, each an outcome; resumable by the problem."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from sgpo.config import EvaluationConfig, SamplingConfig
from sgpo.evaluation.answers import KeptAnswer, answers_of
from sgpo.evaluation.outcomes import outcome_of, row_of
from sgpo.evaluation.scores import EvaluationError, Outcome
from sgpo.jsonl import JsonlFile
from sgpo.problems import Problem
from sgpo.problems.tiers import UNNAMED, tiers_of
from sgpo.progress import progress_bar
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes, ProblemSamples

EVALUATION_STEP = -1
"""The step that evaluation seeds are derived from: every model is asked with the same seeds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A problem's outcome with the answers behind it."""

    outcome: Outcome
    answers: tuple[KeptAnswer, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Problems that are asked alike: k responses, drawn in one way.

    `name` has their benchmarks, `setting` the key that their length is set by.
    """

    name: str
    setting: str
    k: int
    sampling: SamplingConfig
    problems: tuple[Problem, ...]


def batches_of(problems: Sequence[Problem], settings: EvaluationConfig) -> list[Batch]:
    """Return the problems by how `settings` has them asked, in the order of their first ones."""
    alike: dict[tuple[int, str], list[Problem]] = {}
    for problem in problems:
        key = settings.k_of(problem.source), settings.sampling_of(problem.source).model_dump_json()
        alike.setdefault(key, []).append(problem)
    return [_batch(group, settings) for group in alike.values()]


def check_benchmarks(problems: Sequence[Problem], settings: EvaluationConfig) -> list[str]:
    """Return the benchmarks that have settings of their own and no problem, as of a recipe for several files.

    Raises EvaluationError for one that is written otherwise among the problems.
    """
    there = {problem.source or UNNAMED for problem in problems}
    for name in settings.benchmarks:
        alike = [other for other in there if other.casefold() == name.casefold()]
        if alike and name not in there:
            raise EvaluationError(f"evaluation.benchmarks has '{name}' (expected '{alike[0]}', the problems' `source`)")
    return [name for name in settings.benchmarks if name not in there]


def measure(
    sampler: Sampler,
    problems: Sequence[Problem],
    settings: EvaluationConfig,
    description: str,
    journal: JsonlFile | None = None,
) -> list[Measured]:
    """Return what the autonomous responses to each problem are worth, in the order given; k is the benchmark's.

    With a `journal` (`open_journal`) each is kept as soon as it is known, and not measured again.
    """
    done = {row["problem_id"]: _measured(row) for row in (journal.rows[1:] if journal else ())}
    tiers, batches = tiers_of(problems), batches_of(problems, settings)
    for batch in batches:
        missing = [problem for problem in batch.problems if problem.id not in done]
        what = description if len(batches) == 1 else f"{description}, {batch.name}"
        for samples in draw(
            sampler, missing, GroupSizes(batch.k, 0), batch.sampling, what, len(batch.problems) - len(missing),
            kept=journal is not None,
        ):  # fmt: skip
            done[samples.problem_id] = found = measured(samples, tiers[samples.problem_id])
            if journal is not None:
                journal.append(row_of(found.outcome) | {"answers": [asdict(answer) for answer in found.answers]})
    return [done[problem.id] for problem in problems]


def measured(samples: ProblemSamples, tier: str) -> Measured:
    """Return the outcome of a problem's autonomous responses with the answers."""
    rewards = tuple(rollout.reward for rollout in samples.autonomous)
    lenient = tuple(rollout.lenient for rollout in samples.autonomous if rollout.lenient is not None)
    outcome = Outcome(samples.problem_id, tier, rewards, lenient if len(lenient) == len(rewards) else None)
    return Measured(outcome, tuple(answers_of(samples, tier)))


def _batch(problems: Sequence[Problem], settings: EvaluationConfig) -> Batch:
    first = problems[0].source
    names = dict.fromkeys(problem.source or UNNAMED for problem in problems)
    own = settings.benchmarks.get(first or UNNAMED)
    group = f"benchmarks.{first or UNNAMED}" if own is not None and own.max_new_tokens is not None else "sampling"
    return Batch(
        ", ".join(names), f"evaluation.{group}.max_new_tokens", settings.k_of(first), settings.sampling_of(first),
        tuple(problems),
    )  # fmt: skip


def _measured(row: dict) -> Measured:
    return Measured(outcome_of(row), tuple(KeptAnswer(**answer) for answer in row["answers"]))


def draw(
    sampler: Sampler,
    problems: Sequence[Problem],
    sizes: GroupSizes,
    sampling: SamplingConfig,
    description: str,
    before: int = 0,
    kept: bool = True,
) -> Iterator[ProblemSamples]:
    """Both groups of every problem, in chunks of about one engine batch so that progress shows.

    `before` is how many problems were done earlier, for the bar. Ctrl-C says how many are `kept` by the caller.
    """
    chunk = max(1, sampling.batch_size // max(1, sizes.autonomous + sizes.guided))
    begun, tokens, done = time.perf_counter(), 0, before
    with progress_bar(before + len(problems), description, before, "problem") as bar:
        try:
            for start in range(0, len(problems), chunk):
                part = list(problems[start : start + chunk])
                samples = sampler.sample(part, sizes, sampling, EVALUATION_STEP)[0]
                yield from samples
                tokens += sum(len(rollout.token_ids) for one in samples for rollout in (*one.autonomous, *one.guided))
                done += len(part)
                rate = tokens / (time.perf_counter() - begun)
                bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
                bar.update(len(part))
        except KeyboardInterrupt:
            if kept:
                what = f"{done} of {before + len(problems)} problems are kept, the same command resumes after them"
                print(f"\n{description}: interrupted; {what}", file=sys.stderr, flush=True)
            raise
