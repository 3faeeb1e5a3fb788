"""A look at what the model says: a few problems in both contexts, and why its answers are not right."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from sgpo.checks.finding import Finding
from sgpo.config import RunConfig
from sgpo.problems import Problem, Verdict, Verifier
from sgpo.problems.domains.registry import MATH
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import Group, GroupSizes, ProblemSamples, Rollout

GROUP = "samples"
PROBLEMS, ANSWERS = 8, 2
STEP = -2
"""The step that seeds are derived from: not those of any training step or evaluation."""
Outcome = Literal["right", "wrong", "no box", "no answer", "cut", "not judged"]
"""`no box` is mathematics', `no answer` the other domains' word for an answer that is not stated as asked."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled response. `stated` is the right answer where it stands in no box; `tokens` with the end."""

    problem_id: str
    question: str
    gold: str
    context: Group
    text: str
    outcome: Outcome
    extracted: str | None
    stated: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Samples:
    """What was sampled, what it took, and the mean tokens of a prompt and of what a strategy adds."""

    answers: tuple[Answer, ...]
    seconds: float
    prompt_tokens: float
    strategy_tokens: float
    drawn: tuple[ProblemSamples, ...] = ()

    @property
    def tokens(self) -> int:
        """Return the tokens that were sampled."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def mean(self) -> float:
        """Return the mean tokens of an answer."""
        return self.tokens / len(self.answers)

    def longest(self, rows: float, limit: int) -> float:
        """Return the tokens that the longest of `rows` answers is expected to have, at most `limit`.

        Lengths are taken to be lognormal; the rank of the longest is Blom's (Statistical Estimates and Transformed
        Beta-Variables, 1958).
        """
        lengths = [math.log(max(1, answer.tokens)) for answer in self.answers]
        rank = (rows - 0.375) / (rows + 0.25)
        normal = statistics.NormalDist(statistics.mean(lengths), statistics.pstdev(lengths) or 1e-9)
        seen = max(answer.tokens for answer in self.answers)
        return min(float(limit), max(float(seen), math.exp(normal.inv_cdf(rank)))) if rows > 1 else self.mean

    def of(self, context: Group) -> list[Answer]:
        """Return the answers of one context."""
        return [answer for answer in self.answers if answer.context == context]

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"seconds": self.seconds, "tokens": self.tokens, "answers": [asdict(one) for one in self.answers]}


def take_samples(
    config: RunConfig, engine: RolloutEngine, chat: ChatFormat, problems: Sequence[Problem], texts: Mapping[str, str]
) -> Samples:
    """Sample PROBLEMS problems, those with a strategy first, ANSWERS times in each context, as training samples."""
    chosen = _chosen([problem for problem in problems if problem.id in texts] or list(problems), config.seed)
    evaluation = config.evaluation
    with Verifier(evaluation.verifier_timeout, evaluation.verifier_workers, config.domains, chosen) as verifier:
        sampler = Sampler(engine, chat, verifier, texts, config.seed)
        begun = time.perf_counter()
        drawn, _ = sampler.sample(chosen, GroupSizes(ANSWERS, ANSWERS), config.training.sampling, STEP)
        seconds = time.perf_counter() - begun
        pairs = [
            (problem, rollout)
            for problem, both in zip(chosen, drawn, strict=True)
            for rollout in (*both.autonomous, *both.guided)
        ]
        texts_of = [(chat.with_thinking(rollout.text), problem) for problem, rollout in pairs]
        verdicts = verifier.score_many(texts_of, lenient=True)
    answers = tuple(
        _answer(problem, rollout, verdict) for (problem, rollout), verdict in zip(pairs, verdicts, strict=True)
    )
    alone = sum(len(both.autonomous_prompt) for both in drawn) / len(drawn)
    with_strategy = [len(both.guided_prompt) - len(both.autonomous_prompt) for both in drawn if both.guided_prompt]
    return Samples(
        answers, seconds, alone, sum(with_strategy) / len(with_strategy) if with_strategy else 0.0, tuple(drawn)
    )


def _chosen(problems: list[Problem], seed: int) -> list[Problem]:
    """Return PROBLEMS of them by chance, in their order: a file that repeats its kinds would show one at even steps."""
    places = random.Random(f"check/{seed}").sample(range(len(problems)), min(PROBLEMS, len(problems)))
    return [problems[place] for place in sorted(places)]


def _answer(problem: Problem, rollout: Rollout, verdict: Verdict) -> Answer:
    outcome: Outcome = "not judged"
    if rollout.finish_reason == "length":
        outcome = "cut"
    elif verdict.reason in ("correct", "wrong", "no_answer", "unparsable"):
        named: dict[str, Outcome] = {
            "correct": "right",
            "no_answer": "no box" if problem.domain == MATH else "no answer",
        }
        outcome = named.get(verdict.reason, "wrong")
    stated = verdict.stated if verdict.lenient and not verdict.correct else None
    return Answer(
        problem.id, problem.question, problem.answer, rollout.group, rollout.text, outcome,
        verdict.extracted, stated,
        len(rollout.token_ids),
    )  # fmt: skip


def judge_samples(samples: Samples, config: RunConfig, warmup_ahead: bool = False) -> list[Finding]:
    """Return what the samples say of whether training could learn; a warm-up that is still ahead may change it."""
    findings = [
        Finding(GROUP, context, "ok", _counted(samples.of(context)))
        for context in ("autonomous", "guided")
        if samples.of(context)
    ]
    learnable = _learnable(samples.answers, config)
    if warmup_ahead and learnable.verdict == "wrong":
        learnable = replace(
            learnable, verdict="warning", found=f"{learnable.found}; the recipe's warm-up comes first",
            cure="look at the answers again after `sgpo warm-up`, if its loss says little",
        )  # fmt: skip
    return [*findings, learnable]


def _counted(answers: Sequence[Answer]) -> str:
    counts = Counter(answer.outcome for answer in answers)
    parts = [f"{counts[name]} {name}" for name in get_args(Outcome) if counts[name]]
    stated = sum(answer.stated is not None for answer in answers)
    named = f"; {stated} right in another form than asked" if stated else ""
    return f"of {len(answers)} answers {', '.join(parts)}{named}"


def _learnable(answers: Sequence[Answer], config: RunConfig) -> Finding:
    """Rewards that are all equal teach nothing: of no answer that can be read, or of answers that are all right."""
    counts, number = Counter(answer.outcome for answer in answers), len(answers)
    limit, unstated = config.training.sampling.max_new_tokens, counts["no box"] + counts["no answer"]
    unread, form = unstated + counts["cut"], "a box" if counts["no box"] else "a stated answer"
    told = f"{counts['cut']} cut, {unstated} without {form}"
    ending = "end in \\boxed{}" if counts["no box"] else "state their answer as the prompt asks"
    cure = (
        f"training.sampling.max_new_tokens above {limit}" if counts["cut"] > unstated else
        f"a warm-up (warmup.epochs, splits.warmup_fraction) on responses that {ending}, or an instruct model"
    )  # fmt: skip
    if unread == number:
        found = f"no answer of {number} can be read ({told}): all score 0"
        return Finding(GROUP, "can learn", "wrong", found, cure)
    if counts["right"] == number:
        return Finding(
            GROUP, "can learn", "warning", f"all {number} answers are right: there is hardly anything to learn",
            "harder problems",
        )  # fmt: skip
    if not counts["right"]:
        below = 1.0 - (1.0 - _CONFIDENCE) ** (1.0 / number)  # Clopper-Pearson, one-sided, of 0 in `number`
        return Finding(
            GROUP, "can learn", "warning",
            f"none of {number} answers is right: the pass rate is below {below:.0%} at {_CONFIDENCE:.0%} confidence",
            cure if 2 * unread > number else "easier problems, a warm-up, or a stronger model",
        )  # fmt: skip
    if 2 * unread > number:
        found = f"{unread} of {number} answers cannot be read ({told})"
        return Finding(GROUP, "can learn", "warning", found, cure)
    return Finding(GROUP, "can learn", "ok", f"{counts['right']} of {number} answers are right")
