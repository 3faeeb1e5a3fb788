"""The autonomous and the guided group of every problem: one engine call, then the verifier."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from sgpo.config import SamplingConfig
from sgpo.problems import Problem, Verdict, Verifier
from sgpo.rollouts.chat import ChatFormat, chat_of
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.schema import Group, GroupSizes, ProblemSamples, Response, Rollout
from sgpo.rollouts.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class SamplingTimes:
    """Seconds spent in the engine and in the verifier."""

    rollout: float
    verify: float

    def __add__(self, other: "SamplingTimes") -> "SamplingTimes":
        """Return the seconds of both."""
        return SamplingTimes(self.rollout + other.rollout, self.verify + other.verify)


Draw = tuple[int, Group, int]
"""A rollout to draw: its problem's place, its group, and its number there."""


class Sampler:
    """Draws and verifies the two groups of each problem [docs/method.md section 3].

    `strategies` maps problem ids to the strategy's text, `experts` to a strong model's verified response as token ids,
    `contrasts` to a wrong strategy's text. With `lenient` rollouts get a lenient verdict too; rewards are strict.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        chat: ChatFormat | PreTrainedTokenizerBase,
        verifier: Verifier,
        strategies: Mapping[str, str],
        run_seed: int,
        experts: Mapping[str, tuple[int, ...]] | None = None,
        contrasts: Mapping[str, str] | None = None,
        lenient: bool = False,
    ) -> None:
        self.engine, self.chat, self.verifier = engine, chat_of(chat), verifier
        self.strategies, self.run_seed, self.experts = strategies, run_seed, experts or {}
        self.contrasts, self.lenient = contrasts or {}, lenient

    def sample(
        self, problems: Sequence[Problem], sizes: GroupSizes, sampling: SamplingConfig, step: int,
        earlier: Sequence[int] = (),
    ) -> tuple[list[ProblemSamples], SamplingTimes]:  # fmt: skip
        """Both groups of each problem; a problem without strategy gets no guided group.

        With `sizes.guided_below` guided rollouts are drawn after the autonomous ones, for problems whose pass rate is
        below it; the others get as many further autonomous rollouts. The seed of a rollout is derived from (run seed,
        step, problem, group, index) alone. `earlier` says how often each problem comes before in the step, if any does:
        its indices go on from there.
        """
        starts = [times * (sizes.autonomous + sizes.guided) for times in earlier or [0] * len(problems)]
        prompts = [self._prompts(problem) for problem in problems]
        first: list[Draw] = [
            (place, "autonomous", start + n) for place, start in enumerate(starts) for n in range(sizes.autonomous)
        ]
        if sizes.guided_below is None:
            plan = [*first, *_second_draws(prompts, sizes, starts)]
            rollouts, times = self._draw(problems, prompts, plan, sampling, step)
        else:
            rollouts, times = self._draw(problems, prompts, first, sampling, step)
            passing = [rate >= sizes.guided_below for rate in _pass_rates(rollouts, sizes.autonomous)]
            plan = [*first, *_second_draws(prompts, sizes, starts, passing)]
            more, later = self._draw(problems, prompts, plan[len(first) :], sampling, step)
            rollouts, times = [*rollouts, *more], times + later
        groups: dict[tuple[int, Group], list[Rollout]] = {}
        for (place, group, _), rollout in zip(plan, rollouts, strict=True):
            groups.setdefault((place, group), []).append(rollout)
        samples = [
            ProblemSamples(
                problem_id=problem.id,
                autonomous_prompt=prompts[place]["autonomous"],
                guided_prompt=prompts[place].get("guided", ()),
                autonomous=tuple(groups.get((place, "autonomous"), ())),
                guided=tuple(groups.get((place, "guided"), ())),
                expert=self.experts.get(problem.id, ()),
                contrast_prompt=self._contrast_prompt(problem),
                question=problem.question,
                gold=problem.answer,
                domain=problem.domain,
            )
            for place, problem in enumerate(problems)
        ]
        return samples, times

    def _draw(
        self, problems: Sequence[Problem], prompts: Sequence[Mapping[Group, tuple[int, ...]]], plan: Sequence[Draw],
        sampling: SamplingConfig, step: int,
    ) -> tuple[list[Rollout], SamplingTimes]:  # fmt: skip
        """One engine call for all of the plan, then the verifier."""
        seeds = [derive_seed(self.run_seed, step, problems[place].id, group, draw) for place, group, draw in plan]
        started = time.perf_counter()
        responses = self.engine.generate([prompts[place][group] for place, group, _ in plan], sampling, seeds)
        sampled = time.perf_counter()
        texts = self.chat.texts([response.token_ids for response in responses])
        verdicts = self._verdicts([problems[place] for place, _, _ in plan], texts)
        judged = time.perf_counter()
        rollouts = [
            Rollout(
                problems[place].id, group, response.token_ids, response.logprobs, text, response.finish_reason,
                _reward(verdict.correct, response), seed,
                step if response.policy_step is None else response.policy_step,
                verdict.stated if verdict.extracted is None else verdict.extracted, verdict.reason,
                None if verdict.lenient is None else _reward(verdict.lenient, response),
            )
            for (place, group, _), seed, response, text, verdict in zip(
                plan, seeds, responses, texts, verdicts, strict=True
            )
        ]  # fmt: skip
        return rollouts, SamplingTimes(sampled - started, judged - sampled)

    def _prompts(self, problem: Problem) -> dict[Group, tuple[int, ...]]:
        prompts: dict[Group, tuple[int, ...]] = {"autonomous": tuple(self.chat.autonomous(problem.question))}
        if problem.id in self.strategies:
            prompts["guided"] = tuple(self.chat.guided(problem.question, self.strategies[problem.id]))
        return prompts

    def _contrast_prompt(self, problem: Problem) -> tuple[int, ...]:
        wrong = self.contrasts.get(problem.id)
        return () if wrong is None else tuple(self.chat.guided(problem.question, wrong))

    def _verdicts(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        judged = [self.chat.with_thinking(text) for text in texts]
        pairs = list(zip(judged, problems, strict=True))
        return self.verifier.score_many(pairs, lenient=True) if self.lenient else self.verifier.score_many(pairs)


def _reward(right: bool, response: Response) -> float:
    """1 for a verified final answer, 0 for a response cut at the length limit [docs/method.md section 11]."""
    return float(right and response.finish_reason == "stop")


def _pass_rates(rollouts: Sequence[Rollout], size: int) -> list[float]:
    """Return the share of right answers in each group of `size` rollouts that follow one another."""
    return [
        sum(rollout.reward for rollout in rollouts[start : start + size]) / size
        for start in range(0, len(rollouts), size)
    ]


def _second_draws(
    prompts: Sequence[Mapping[Group, tuple[int, ...]]], sizes: GroupSizes, starts: Sequence[int],
    passing: Sequence[bool] = (),
) -> list[Draw]:  # fmt: skip
    """Return the G2 draws of each problem with a strategy: guided ones, further autonomous ones where it passes."""
    draws: list[Draw] = []
    for place, known in enumerate(prompts):
        alone = bool(passing) and passing[place]
        group: Group = "autonomous" if alone else "guided"
        start = starts[place] + (sizes.autonomous if alone else 0)
        if "guided" in known:
            draws.extend((place, group, start + n) for n in range(sizes.guided))
    return draws
