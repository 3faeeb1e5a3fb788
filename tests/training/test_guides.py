"""Guides with weights of their own: the plain gradient, the policy untouched, exact resume, guidance by need."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from plain_objective import plain_loss
from samples import accumulate, gradient_for, make_samples
from test_loop import SMALL, Interrupted, Recorder, run
from test_step import flat_gradient, tiny_policy
from torch.utils._python_dispatch import TorchDispatchMode

from sgpo.config import ConfigError, LoraConfig, TrainingConfig, load_config
from sgpo.training.guides import AverageGuide, FrozenGuide
from sgpo.training.lora import add_adapters
from sgpo.training.policy import Policy


def move(policy: Policy, by: float = 0.1) -> None:
    """Change every trained weight, as optimiser steps would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(by * noise)


@pytest.mark.parametrize(
    "settings", [{}, {"own_rollouts": True}, {"distillation": "reverse_kl"}, {"target": "all"}, {"contrast": True}]
)
def test_a_frozen_guides_gradient_is_that_of_the_weights_that_training_began_from(tokenizer, family, settings):
    samples, policy = make_samples(6), tiny_policy(tokenizer, family)
    config = TrainingConfig(algorithm={"guide": "frozen", "delta": None, **settings})
    gradient, start = gradient_for(policy, config, tokenizer.pad_token_id), copy.deepcopy(policy)
    move(policy)
    moved = copy.deepcopy(policy.state_dict())
    sums = accumulate(gradient, samples)
    assert all(torch.equal(value, moved[name]) for name, value in policy.state_dict().items())
    found = flat_gradient(policy)
    policy.zero_grad()
    loss = plain_loss(policy, samples, config, guide=start)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-9)
    torch.testing.assert_close(found, flat_gradient(policy), atol=1e-7, rtol=1e-6)
    live = plain_loss(policy, samples, config)
    assert abs(live.item() - loss.item()) > 1e-3, "the guide's weights have to matter here"


class OutOfMemory(TorchDispatchMode):
    """Let the n-th operation that needs new memory fail."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        schema = func._schema
        if not schema.is_mutable and not any(result.alias_info for result in schema.returns):
            self.left -= 1
            if self.left == 0:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return func(*args, **(kwargs or {}))


def test_a_guide_that_finds_no_memory_leaves_the_policy_its_own_weights(tokenizer):
    """The step is tried again in smaller micro-batches: half of the weights exchanged would be a third model."""
    policy = tiny_policy(tokenizer)
    guide = FrozenGuide(policy)
    kept = {name: value.clone() for name, value in guide._weights.items()}
    move(policy)
    own, failed = copy.deepcopy(policy.state_dict()), 0
    for n in range(1, 100):
        try:
            with OutOfMemory(n), guide._lent():
                assert not torch.equal(policy.model.get_decoder().norm.weight, own["model.model.norm.weight"])
        except RuntimeError:
            failed += 1
        else:
            break
        assert all(torch.equal(value, own[name]) for name, value in policy.state_dict().items()), n
        assert all(torch.equal(value, kept[name]) for name, value in guide._weights.items()), n
    assert failed


def test_the_average_is_that_of_the_weights_half_as_heavy_after_each_half_life(tokenizer):
    policy = tiny_policy(tokenizer)
    guide, name = AverageGuide(policy, half_life=2.0), "model.model.norm.weight"
    history = [policy.state_dict()[name].clone()]
    for _ in range(5):
        move(policy)
        guide.follow()
        history.append(policy.state_dict()[name].clone())
    share = 0.5 ** (1 / 2)
    expected = history[0] * share**5 + sum(
        (1 - share) * share ** (5 - step) * history[step] for step in range(1, 6)
    )  # fmt: skip
    torch.testing.assert_close(guide.kept()[name], expected)


def test_with_adapters_a_frozen_guide_keeps_the_adapters_alone(tokenizer):
    """They begin by adding nothing: the guide is the base."""
    policy = tiny_policy(tokenizer)
    start = copy.deepcopy(policy)
    policy.base = add_adapters(policy.model, LoraConfig(rank=4), "tiny", seed=3)
    config = TrainingConfig(algorithm={"guide": "frozen", "grpo": False, "delta": None})
    gradient = gradient_for(policy, config, tokenizer.pad_token_id)
    assert isinstance(gradient.guide, FrozenGuide)
    kept = sum(value.numel() for value in gradient.guide._weights.values())
    assert kept == sum(value.numel() for value in policy.parameters() if value.requires_grad)
    assert gradient.guide.projection() is None
    move(policy)
    sums = accumulate(gradient, make_samples(6))
    loss = plain_loss(policy, make_samples(6), config, guide=start)
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-6)


def test_with_adapters_the_average_is_that_of_their_factors_and_not_of_the_weights(tokenizer):
    policy = tiny_policy(tokenizer)
    policy.base = add_adapters(policy.model, LoraConfig(rank=4), "tiny", seed=3)
    move(policy)
    guide, layer = AverageGuide(policy, half_life=1.0), "model.model.layers.0.self_attn.q_proj"
    names = [f"{layer}.lora_{which}.default.weight" for which in "BA"]
    before = [policy.get_parameter(name).detach().clone() for name in names]
    move(policy)
    guide.follow()
    after, (up, down) = [policy.get_parameter(name).detach() for name in names], [guide.kept()[name] for name in names]
    torch.testing.assert_close(up, (before[0] + after[0]) / 2)
    torch.testing.assert_close(down, (before[1] + after[1]) / 2)
    of_weights = (before[0] @ before[1] + after[0] @ after[1]) / 2
    assert (up @ down - of_weights).abs().max() > 0.01 * of_weights.abs().max()


def test_the_policy_has_its_weights_again_when_the_guides_forward_fails(tokenizer, monkeypatch):
    policy = tiny_policy(tokenizer)
    config = TrainingConfig(algorithm={"guide": "frozen"})
    gradient = gradient_for(policy, config, tokenizer.pad_token_id)
    move(policy)
    before = copy.deepcopy(policy.state_dict())
    monkeypatch.setattr(Policy, "hidden", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        accumulate(gradient, make_samples(6))
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


@pytest.mark.parametrize("guide", ["frozen", "ema"])
def test_a_resumed_run_has_the_guide_of_the_run_that_was_not_interrupted(tmp_path, model_folder, data_folder, guide):
    chosen = [
        f"training.algorithm.guide={guide}",
        "training.algorithm.guide_half_life=2",
        "training.learning_rate=0.01",
    ]
    config = load_config(None, [*SMALL, *chosen])
    whole, live = Recorder(), Recorder()
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole)
    run(tmp_path / "live", load_config(None, [*SMALL, chosen[2]]), model_folder, data_folder, live)
    kl, of_live = (
        [row["distill/kl_mean"] for row in one.rows.values() if "distill/kl_mean" in row] for one in (whole, live)
    )
    assert kl != of_live
    stopped = Recorder(stop_after=3)
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    stopped.stop_after = None
    resumed = run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_a_problem_without_a_wrong_strategy_is_distilled_without_contrast(tokenizer):
    samples = [replace(one, contrast_prompt=()) for one in make_samples(6)]
    losses = []
    for contrast in (True, False):
        config = TrainingConfig(algorithm={"contrast": contrast, "delta": None})
        gradient = gradient_for(tiny_policy(tokenizer), config, tokenizer.pad_token_id)
        losses.append(accumulate(gradient, samples)["loss"])
    assert losses[0] == losses[1]


def test_own_rollouts_and_a_contrast_need_a_divergence():
    with pytest.raises(ConfigError, match="contrast is true with distillation sft"):
        load_config(None, ["training.algorithm.contrast=true", "training.algorithm.distillation=sft"])
    with pytest.raises(ConfigError, match="own_rollouts is true with distillation sft"):
        load_config(None, ["training.algorithm.own_rollouts=true", "training.algorithm.distillation=sft"])
