"""Run by test_step.py under torchrun: one optimiser step on a fixed batch, sharded over the processes.

Arguments: the output file, and the name of one of test_step.py's alternatives.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

sys.path.insert(0, str(Path(__file__).parent))

from samples import make_samples
from test_step import ALTERNATIVES, tiny_policy

from sgpo.config import ObjectiveConfig, TrainingConfig
from sgpo.problems.testbed.corpus import CorpusConfig
from sgpo.training.base_model import testbed_tokenizer
from sgpo.training.distributed import open_world, shard_policy
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.step import SgpoGradient


def main() -> None:
    tokenizer = testbed_tokenizer(CorpusConfig())
    samples = make_samples(7)
    config = TrainingConfig(steps=10, objective=ObjectiveConfig(**ALTERNATIVES[sys.argv[2]]))
    with open_world() as world:
        policy = tiny_policy(tokenizer)
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        shard_policy(policy, world)
        optimizer = make_optimizer(policy, config)
        gradient = SgpoGradient(policy, config, world, tokenizer.pad_token_id)
        mine = world.share(sorted(samples, key=lambda problem: problem.problem_id))
        sums = gradient.accumulate(gradient.prepare(mine, run_seed=0, step=0), len(samples))
        loss = world.sum({"loss": sums["loss"]})["loss"]
        optimizer_step(policy, optimizer, 1e-3, config.max_grad_norm)
        weights = get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if world.is_main:
            moved = max((weights[name] - before[name]).abs().max().item() for name in weights)
            torch.save({"loss": loss, "weights": weights, "moved": moved}, sys.argv[1])


if __name__ == "__main__":
    main()
