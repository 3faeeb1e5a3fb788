"""Truncated importance sampling against the sampler's probabilities."""

import math

import pytest
import torch

from sgpo.objectives import grpo_token_losses, truncated_importance

OLD = torch.tensor([-1.0, -2.0, -3.0, -0.5, -1.0], dtype=torch.float64)
SAMPLER = torch.tensor([-1.0, -3.0, -1.0, -0.5, -9.0], dtype=torch.float64)


def test_weights_are_the_ratio_up_to_the_cap():
    weights, metrics = truncated_importance(OLD, SAMPLER, cap=2.0)
    expected = torch.tensor([1.0, 2.0, math.exp(-2.0), 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, atol=1e-12, rtol=0)
    assert float(metrics["importance_capped"]) == 2


def test_an_exact_sampler_changes_nothing():
    weights, metrics = truncated_importance(OLD, OLD, cap=2.0)
    assert weights.tolist() == [1.0] * 5
    assert float(metrics["importance_capped"]) == 0


def test_the_weights_multiply_the_loss_of_each_token_and_carry_no_gradient():
    logprobs, sampler = OLD.clone().requires_grad_(), SAMPLER.clone().requires_grad_()
    weights, _ = truncated_importance(logprobs, sampler, cap=2.0)
    advantages = torch.tensor([1.0, 1.0, 1.0, -0.5, -0.5], dtype=torch.float64)
    loss, _ = grpo_token_losses(logprobs, OLD, advantages, importance_N=weights)
    gradient, none = torch.autograd.grad(loss.sum(), (logprobs, sampler), allow_unused=True)
    torch.testing.assert_close(gradient, -advantages * weights, atol=1e-12, rtol=0)
    assert none is None


def test_weights_that_somebody_made_with_a_gradient_get_none():
    weights = torch.ones(5, dtype=torch.float64, requires_grad=True)
    loss, _ = grpo_token_losses(OLD, OLD, torch.ones(5), importance_N=weights)
    assert not loss.requires_grad


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_cap_that_is_not_positive_is_refused(cap):
    with pytest.raises(ValueError, match="cap is"):
        truncated_importance(OLD, SAMPLER, cap)


def test_another_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match="sampler_logprobs has shape"):
        truncated_importance(OLD, SAMPLER[:4], 2.0)
