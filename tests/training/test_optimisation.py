"""Schedules are those of the libraries, and low precision never reaches what is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

sys.path.insert(0, str(Path(__file__).parent))

from samples import accumulate, gradient_for, make_samples
from test_step import tiny_policy

from sgpo.algorithms.rows import Row
from sgpo.config import ShardingConfig, TrainingConfig
from sgpo.training.batches import make_batch
from sgpo.training.checkpoints.sharded_state import collect
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.sharding import shard_policy
from sgpo.training.world import open_world


@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize(
    ("schedule", "library"), [("constant", "constant_with_warmup"), ("linear", "linear"), ("cosine", "cosine")]
)
def test_schedules_are_those_of_transformers(schedule, library, warmup):
    """But for the warm-up, which begins with a step that does something."""
    config = TrainingConfig(steps=30, warmup_steps=warmup, schedule=schedule, learning_rate=3e-4)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    shape = get_scheduler(library, optimizer, warmup, config.steps).lr_lambdas[0]  # type: ignore[union-attr]
    for step in range(config.steps):
        expected = config.learning_rate * shape(step + 1 if step < warmup else step)
        assert learning_rate(config, step) == pytest.approx(expected, rel=1e-12)


def test_the_cosine_is_that_of_torch():
    config = TrainingConfig(steps=30, warmup_steps=5, schedule="cosine", learning_rate=3e-4)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=config.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    for step in range(5, 30):
        assert learning_rate(config, step) == pytest.approx(cosine.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (5, 5), (3, 10)])
def test_short_runs_have_a_learning_rate_within_bounds(schedule, steps, warmup):
    config = TrainingConfig(steps=steps, warmup_steps=warmup, schedule=schedule, learning_rate=3e-4)
    assert all(0.0 < learning_rate(config, step) <= config.learning_rate for step in range(steps))


def test_weights_moments_and_what_is_saved_stay_float32_in_bfloat16_training(tokenizer):
    config, samples = TrainingConfig(), make_samples(7)
    with open_world() as world:
        policy = tiny_policy(tokenizer).float()
        with torch.no_grad():
            policy.model.get_decoder().norm.weight.fill_(1.0)
        shard_policy(policy, world, ShardingConfig(precision="bfloat16"))
        batch = make_batch([Row((7, 8), (9,), 0)], tokenizer.pad_token_id, world.device)
        assert policy.hidden(batch).dtype == torch.bfloat16
        optimizer = make_optimizer(policy, config)
        accumulate(gradient_for(policy, config, tokenizer.pad_token_id, world), samples)
        assert {parameter.grad.dtype for parameter in policy.parameters() if parameter.grad is not None} == {
            torch.float32
        }
        optimizer_step(policy, optimizer, 1e-4, config.max_grad_norm)
        kept = collect(policy, (optimizer,))
        assert sum(name.startswith("optimizer/") for name in kept) > 20
        assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
        # A step that bfloat16, with 8 bits of precision, would have lost.
        weight = policy.model.get_decoder().norm.weight.full_tensor()
        assert (weight != 1.0).all()
        assert (weight.bfloat16() == 1.0).all()
