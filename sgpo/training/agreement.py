"""Before training: does the engine sample from the policy that is trained? Silent disagreement ruins a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from sgpo.algorithms.rows import Row
from sgpo.config import SamplingConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat, chat_of
from sgpo.rollouts.engine import EngineError, RolloutEngine
from sgpo.rollouts.schema import Response
from sgpo.rollouts.seeds import derive_seed
from sgpo.training.batches import make_batch
from sgpo.training.policy import Policy
from sgpo.training.world import World

PROBLEMS, NEW_TOKENS = 4, 32
"""How many problems are asked, with and without strategy, and how long their answers may become."""
BOUNDS = {"float32": 1e-3, "bfloat16": 0.25}
"""Nats. float32 differs by 4e-6 to 3e-5 with 1M to 20M parameters, bfloat16 by 4e-2 (docs/measured/rollouts.md)."""


class EngineMismatchError(EngineError):
    """The engine's policy is not the trainer's; names the first token that differs."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that both are asked; without strategy it is the autonomous prompt."""

    problem_id: str
    question: str
    strategy: str | None

    def name(self) -> str:
        """For messages."""
        return f"the {'autonomous' if self.strategy is None else 'guided'} prompt of problem '{self.problem_id}'"


def probes_of(problems: Sequence[Problem], strategies: Mapping[str, str]) -> list[Probe]:
    """Return the first problems, each without and with its strategy where it has one."""
    probes: list[Probe] = []
    for problem in problems[:PROBLEMS]:
        probes.append(Probe(problem.id, problem.question, None))
        if problem.id in strategies:
            probes.append(Probe(problem.id, problem.question, strategies[problem.id]))
    return probes


def check_agreement(
    engine: RolloutEngine,
    policy: Policy,
    chat: ChatFormat | PreTrainedTokenizerBase,
    probes: Sequence[Probe],
    sampling: SamplingConfig,
    bound: float,
    world: World,
    pad_id: int,
) -> float:
    """Largest difference in nats between the engine's log-probabilities and the trainer's.

    Of greedy and of sampled tokens. Collective. Raises EngineMismatchError, on every process when one does, if the
    engine writes a prompt with other tokens or a token's log-probability differs by more than `bound`.
    """
    problem: EngineMismatchError | None = None
    largest = 0.0
    chat = chat_of(chat)
    prompts, tokenizer = [chat.build(probe.question, probe.strategy) for probe in probes], chat.tokenizer
    try:
        for probe, prompt in zip(probes, prompts, strict=True):
            _compare_prompt(engine, tokenizer, probe, prompt)
    except EngineMismatchError as error:
        problem = error
    for temperature in dict.fromkeys((0.0, sampling.temperature)):
        short = sampling.model_copy(
            update={"temperature": temperature, "max_new_tokens": min(NEW_TOKENS, sampling.max_new_tokens)}
        )
        responses = engine.generate(prompts, short, [derive_seed(0, 0, probe.name(), "probe", 0) for probe in probes])
        trainer = _score(policy, prompts, responses, temperature or 1.0, world, pad_id)
        try:
            largest = max(largest, _compare_tokens(probes, responses, trainer, tokenizer, temperature, bound))
        except EngineMismatchError as error:
            problem = problem or error
    if world.maximum({"refused": float(problem is not None)})["refused"]:
        raise problem or EngineMismatchError("the engine of another process does not sample from the trainer's policy")
    return world.maximum({"difference": largest})["difference"]


def _compare_prompt(engine: RolloutEngine, tokenizer: PreTrainedTokenizerBase, probe: Probe, ours: list[int]) -> None:
    theirs = engine.prompt_ids(probe.question, probe.strategy)
    if theirs is None or theirs == ours:
        return
    place = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        place = min(len(ours), len(theirs))
    raise EngineMismatchError(
        f"{probe.name()}: token {place} is {_shown(theirs, place, tokenizer)} by the engine's tokenizer and "
        f"{_shown(ours, place, tokenizer)} by the trainer's (expected the same tokenizer and chat template)"
    )


def _score(
    policy: Policy, prompts: Sequence[list[int]], responses: Sequence[Response], temperature: float, world: World,
    pad_id: int,
) -> list[list[float]]:  # fmt: skip
    rows = [
        Row(tuple(prompt), response.token_ids, key)
        for key, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]
    with torch.no_grad():
        logprobs_BR = policy.logprobs(make_batch(rows, pad_id, world.device), temperature)
    return [values[: len(row.response)] for row, values in zip(rows, logprobs_BR.tolist(), strict=True)]


def _compare_tokens(
    probes: Sequence[Probe], responses: Sequence[Response], trainer: Sequence[list[float]],
    tokenizer: PreTrainedTokenizerBase, temperature: float, bound: float,
) -> float:  # fmt: skip
    largest = 0.0
    for probe, response, values in zip(probes, responses, trainer, strict=True):
        for place, (theirs, ours) in enumerate(zip(response.logprobs, values, strict=True)):
            difference = abs(theirs - ours)
            if not difference <= bound:  # NaN is refused too
                raise EngineMismatchError(
                    f"{probe.name()}: token {place} of the engine's response at temperature {temperature:g} is "
                    f"{_shown(response.token_ids, place, tokenizer)}, with log-probability {theirs:.6f} by the engine "
                    f"and {ours:.6f} by the trainer (expected within {bound:g}). The prompts' tokens are the same, so "
                    "probably the weights differ, or their precision"
                )
            largest = max(largest, difference)
    return largest


def _shown(ids: Sequence[int], place: int, tokenizer: PreTrainedTokenizerBase) -> str:
    if place >= len(ids):
        return "nothing"
    if ids[place] >= len(tokenizer):
        return f"id {ids[place]}, which the trainer's tokenizer does not have,"
    return f"{tokenizer.convert_ids_to_tokens(ids[place])!r} (id {ids[place]})"
