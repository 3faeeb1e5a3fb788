"""One optimiser step on a fixed batch; as a program of several ranks it is sharded over the processes.

Arguments: the output file, then names of CASES, which are computed one after the other in one process group.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import accumulate, gradient_for, make_samples
from test_step import ALTERNATIVES, tiny_policy
from transformers import PreTrainedTokenizerFast

from sgpo.config import LoraConfig, TrainingConfig
from sgpo.rollouts.schema import ProblemSamples
from sgpo.testbed.base_model import testbed_tokenizer
from sgpo.training.lora import add_adapters
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.sharding import shard_policy, whole_weights
from sgpo.training.world import World, open_world

CASES = (
    "the paper's",
    "LUFFY",
    "HPT, higher gate",
    "LoRA",
    "idle ranks of 2",
    "idle ranks of 4",
    "frozen guide",
    "contrast",
)


def idle_ranks(size: int) -> list[ProblemSamples]:
    """Problems so that of `size` processes the last has no correct guided rollout, the one before it equal rewards."""

    def rewarded(problem: ProblemSamples, index: int) -> ProblemSamples:
        if index % size == size - 1:
            return replace(problem, guided=tuple(replace(rollout, reward=0.0) for rollout in problem.guided))
        if index % size == size - 2:
            return replace(problem, autonomous=tuple(replace(rollout, reward=1.0) for rollout in problem.autonomous))
        return problem

    return [rewarded(problem, index) for index, problem in enumerate(make_samples(9))]


def one_step(world: World, tokenizer: PreTrainedTokenizerFast, case: str) -> dict[str, object]:
    """Loss, whole weights after the step (on the first process), and how far the farthest weight went."""
    samples = idle_ranks(int(case.rsplit(" ", 1)[1])) if case.startswith("idle") else make_samples(7)
    policy = tiny_policy(tokenizer)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    if case == "LoRA":
        add_adapters(policy.model, LoraConfig(rank=4), "tiny", seed=3)
        with torch.no_grad():  # with B at zero A would have no gradient
            for parameter in policy.parameters():
                parameter.add_(0.01) if parameter.requires_grad else None
    algorithm = {"guide": "frozen"} if case == "frozen guide" else ALTERNATIVES.get(case, {})
    config = TrainingConfig(steps=10, algorithm=algorithm, tokens_per_microbatch=200)
    shard_policy(policy, world)
    optimizer = make_optimizer(policy, config)
    # A micro-batch or two for some ranks, and more for others.
    gradient = gradient_for(policy, config, tokenizer.pad_token_id, world)
    if case == "frozen guide":  # the policy has gone on since then
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.mul_(1.05)
    shard = world.shard(sorted(samples, key=lambda problem: problem.problem_id))
    sums = accumulate(gradient, shard, problems=len(samples))
    loss = world.sum({"loss": sums["loss"]})["loss"]
    optimizer_step(policy, optimizer, 1e-3, config.max_grad_norm)
    weights = {name: value.detach().clone() for name, value in whole_weights(policy).items()}
    moved = max(((weights[name] - before[name]).abs().max().item() for name in weights), default=0.0)
    return {"loss": loss, "weights": weights, "moved": moved}


def main() -> None:
    tokenizer = testbed_tokenizer()
    with open_world() as world:
        results = {case: one_step(world, tokenizer, case) for case in sys.argv[2:]}
        if world.is_main:
            torch.save(results, sys.argv[1])


if __name__ == "__main__":
    main()
