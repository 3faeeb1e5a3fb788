"""The autonomous and the guided group of every problem: one engine call, then the verifier."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from sgpo.config import SamplingConfig
from sgpo.problems import Problem, Verifier
from sgpo.rollouts.chat import ChatFormat, chat_of
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.schema import Group, GroupSizes, ProblemSamples, Response, Rollout
from sgpo.rollouts.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class SamplingTimes:
    """Seconds spent in the engine and in the verifier."""

    rollout: float
    verify: float


class Sampler:
    """Draws and verifies the two groups of each problem [docs/method.md section 3].

    `strategies` maps problem ids to the strategy's text, `experts` to a strong model's verified response as token ids.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        chat: ChatFormat | PreTrainedTokenizerBase,
        verifier: Verifier,
        strategies: Mapping[str, str],
        run_seed: int,
        experts: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.engine, self.chat, self.verifier = engine, chat_of(chat), verifier
        self.strategies, self.run_seed, self.experts = strategies, run_seed, experts or {}

    def sample(
        self, problems: Sequence[Problem], sizes: GroupSizes, sampling: SamplingConfig, step: int
    ) -> tuple[list[ProblemSamples], SamplingTimes]:
        """Both groups of each problem; a problem without strategy gets no guided group.

        The seed of a rollout is derived from (run seed, step, problem, group, index) alone.
        """
        prompts = [self._prompts(problem) for problem in problems]
        plan: list[tuple[int, Group, int]] = []
        for index, problem in enumerate(problems):
            guided = sizes.guided if problem.id in self.strategies else 0
            plan.extend((index, "autonomous", draw) for draw in range(sizes.autonomous))
            plan.extend((index, "guided", draw) for draw in range(guided))
        seeds = [derive_seed(self.run_seed, step, problems[index].id, group, draw) for index, group, draw in plan]
        started = time.perf_counter()
        responses = self.engine.generate([prompts[index][group] for index, group, _ in plan], sampling, seeds)
        sampled = time.perf_counter()
        texts = self.chat.texts([response.token_ids for response in responses])
        rewards = self._rewards([problems[index] for index, _, _ in plan], responses, texts)
        judged = time.perf_counter()
        groups: dict[tuple[int, Group], list[Rollout]] = {}
        for (index, group, _), seed, response, text, reward in zip(plan, seeds, responses, texts, rewards, strict=True):
            rollout = Rollout(
                problems[index].id, group, response.token_ids, response.logprobs, text, response.finish_reason,
                reward, seed, step if response.policy_step is None else response.policy_step,
            )  # fmt: skip
            groups.setdefault((index, group), []).append(rollout)
        samples = [
            ProblemSamples(
                problem_id=problem.id,
                autonomous_prompt=prompts[index]["autonomous"],
                guided_prompt=prompts[index].get("guided", ()),
                autonomous=tuple(groups.get((index, "autonomous"), ())),
                guided=tuple(groups.get((index, "guided"), ())),
                expert=self.experts.get(problem.id, ()),
            )
            for index, problem in enumerate(problems)
        ]
        return samples, SamplingTimes(sampled - started, judged - sampled)

    def _prompts(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        prompts = {"autonomous": tuple(self.chat.autonomous(problem.question))}
        if problem.id in self.strategies:
            prompts["guided"] = tuple(self.chat.guided(problem.question, self.strategies[problem.id]))
        return prompts

    def _rewards(self, problems: Sequence[Problem], responses: Sequence[Response], texts: Sequence[str]) -> list[float]:
        """1 for a verified final answer, 0 for a response cut at the length limit [docs/method.md section 11]."""
        judged = [self.chat.with_thinking(text) for text in texts]
        verdicts = self.verifier.score_many(list(zip(judged, problems, strict=True)))
        return [
            float(verdict.correct and response.finish_reason == "stop")
            for verdict, response in zip(verdicts, responses, strict=True)
        ]
