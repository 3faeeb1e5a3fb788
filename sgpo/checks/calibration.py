"""How fast this machine samples and trains this model by this recipe, and starts processes, measured in a few seconds.

The engine reads prompts, and draws two short batches of different size: what a token of a prompt costs, a token's
position, whatever the rows, and what each row adds. The gradient of the recipe's method is computed for the sampled
answers, with rewards that differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sgpo.algorithms import registry
from sgpo.checks.gradient_tokens import PromptAndResponse, trained_tokens
from sgpo.checks.model import OpenedModel
from sgpo.checks.processes import start_seconds
from sgpo.checks.samples import Samples
from sgpo.config import RunConfig
from sgpo.config.algorithm import read_algorithm
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.model_folder import pad_id
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.policy import Policy
from sgpo.training.step import Gradient
from sgpo.training.world import open_world

SHORT, FEW, MANY = 64, 16, 128
"""New tokens of a row, and rows of the two batches."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that a position of a batch takes, that a row adds to it, and that training on a token takes.

    `prompt_token` is what a token of a prompt takes that is read, once for all its responses in a batch. `start` is
    that of a process's imports, `opening` that of the model and its engine.
    """

    position: float
    row: float
    trained_token: float
    start: float = 0.0
    opening: float = 0.0
    prompt_token: float = 0.0

    def sampling(self, rows: float, batch_size: int, mean: float, longest: float, prompts: float) -> float:
        """Return the seconds to draw `rows` responses of `mean` tokens, the longest of a batch of `longest`.

        `prompts` are the tokens of all prompts, each read once.
        """
        batches = math.ceil(rows / batch_size)
        return batches * longest * self.position + rows * mean * self.row + prompts * self.prompt_token


def calibrate(
    config: RunConfig, opened: OpenedModel, engine: RolloutEngine, samples: Samples, opening: float = 0.0
) -> Rates:
    """Measure the rates on answers that were sampled already; opening the engine took `opening` seconds.

    Raises UserError where the engine or the method does.
    """
    drawn = samples.drawn
    prompts = [list(prompt) for one in drawn for prompt in (one.autonomous_prompt, one.guided_prompt) if prompt]
    prompt_token, position, row = _engine_rates(config, engine, prompts)
    trained = sum(_tokens_of_gradient(one, config.training.shared_prompts) for one in drawn)
    token = _seconds_of_gradient(config, opened, drawn) / trained
    return Rates(position, row, token, start_seconds(), opened.seconds + opening, prompt_token)


def _engine_rates(config: RunConfig, engine: RolloutEngine, prompts: list[list[int]]) -> tuple[float, float, float]:
    """Return seconds of a prompt's token, of a position, and of a row's token; none is negative.

    One token of each prompt is drawn for the first; of two batches positions x a + tokens x b = the other seconds.
    """
    sampling, distinct = config.training.sampling, {tuple(prompt) for prompt in prompts}
    read = sum(map(len, distinct))

    def seconds_of(rows: int, most: int) -> tuple[float, list[int]]:
        short = sampling.model_copy(update={"max_new_tokens": min(most, sampling.max_new_tokens)})
        asked = [prompts[place % len(prompts)] for place in range(rows)]
        begun = time.perf_counter()
        answers = engine.generate(asked, short, list(range(rows)))
        return time.perf_counter() - begun, [len(answer.token_ids) for answer in answers]

    seconds_of(len(prompts), SHORT)  # it warms the engine up
    reading, _ = seconds_of(len(prompts), 1)
    sizes, seconds = [], []
    many = min(MANY, sampling.batch_size)
    for rows in (min(FEW, many), many):
        taken, lengths = seconds_of(rows, SHORT)
        sizes.append((max(lengths), sum(lengths)))
        seconds.append(max(0.0, taken - reading * min(1.0, rows / len(prompts))))
    from scipy.optimize import nnls

    found, _ = nnls(np.array(sizes, dtype=float), np.array(seconds))
    return reading / read, float(found[0]), float(found[1])


def _seconds_of_gradient(config: RunConfig, opened: OpenedModel, drawn: Sequence[ProblemSamples]) -> float:
    """Return the seconds of rows, scores, guide, forward and backward for the sampled answers."""
    training = config.training
    if "responses" in registry.method(training.algorithm.type).needs:  # their rows are as long as sampled ones
        training = training.model_copy(update={"algorithm": read_algorithm({"type": "grpo"}), "minibatches": 1})
    training = training.model_copy(update={"minibatches": 1})
    samples = [_with_rewards(one) for one in drawn]
    with open_world() as world:
        policy = Policy(opened.model).to(world.device)
        gradient = Gradient(policy, registry.build(training, config.seed), training, world, pad_id(opened.tokenizer))
        seconds = 0.0
        for part in (samples[:1], samples):  # the first one warms up
            begun = time.perf_counter()
            for minibatch in gradient.minibatches(part, 0, len(part)):
                gradient.accumulate(minibatch)
            seconds = time.perf_counter() - begun
        policy.zero_grad(set_to_none=True)
    return seconds


def _with_rewards(one: ProblemSamples) -> ProblemSamples:
    """Return the samples with rewards that differ in each group, so that every row is trained on."""
    return replace(
        one,
        autonomous=tuple(replace(rollout, reward=float(at % 2)) for at, rollout in enumerate(one.autonomous)),
        guided=tuple(replace(rollout, reward=float(at % 2 == 0)) for at, rollout in enumerate(one.guided)),
    )


def _tokens_of_gradient(one: ProblemSamples, shared: bool) -> float:
    """Return the tokens that `_with_rewards` has trained on: of two guided answers one is right."""
    alone, guided = len(one.autonomous_prompt), len(one.guided_prompt)
    answers = [*one.autonomous, *one.guided]
    mean = sum(len(answer.token_ids) for answer in answers) / len(answers)
    lengths = PromptAndResponse(alone, max(0, guided - alone), mean)
    return trained_tokens(lengths, len(one.autonomous), 1.0, float(guided > 0), len(one.guided) / 2.0, shared)
