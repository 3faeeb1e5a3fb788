"""Truncated importance sampling against the sampler's probabilities."""

import math

import pytest
import torch

from sgpo.objectives import grpo_row_losses, truncated_importance

OLD = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, -1.0, math.nan]], dtype=torch.float64)
SAMPLER = torch.tensor([[-1.0, -3.0, -1.0], [-0.5, -9.0, math.nan]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_weights_are_the_ratio_up_to_the_cap_and_zero_where_there_is_no_token():
    weights, metrics = truncated_importance(OLD, SAMPLER, MASK, cap=2.0)
    expected = [[1.0, 2.0, math.exp(-2.0)], [1.0, 2.0, 0.0]]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    assert metrics["importance_capped"].item() == 2


def test_an_exact_sampler_changes_nothing():
    weights, metrics = truncated_importance(OLD, OLD, MASK, cap=2.0)
    assert torch.equal(weights, MASK.double())
    assert metrics["importance_capped"].item() == 0


def test_the_weights_multiply_the_loss_of_each_token_and_carry_no_gradient():
    logprobs = OLD.nan_to_num(0.0).requires_grad_()
    old, sampler = logprobs, SAMPLER.clone().requires_grad_()
    weights, _ = truncated_importance(old, sampler, MASK, cap=2.0)
    advantages = torch.tensor([1.0, -0.5], dtype=torch.float64)
    loss, _ = grpo_row_losses(logprobs, OLD.nan_to_num(0.0), advantages, MASK, importance_BT=weights)
    gradient, none = torch.autograd.grad(loss.sum(), (logprobs, sampler), allow_unused=True)
    expected = -advantages[:, None] * weights / MASK.sum(dim=1, keepdim=True)
    torch.testing.assert_close(gradient, expected.detach(), atol=1e-12, rtol=0)
    assert none is None


def test_weights_that_somebody_made_with_a_gradient_get_none():
    weights = MASK.double().requires_grad_()
    loss, _ = grpo_row_losses(OLD.nan_to_num(0.0), OLD.nan_to_num(0.0), torch.ones(2), MASK, importance_BT=weights)
    assert not loss.requires_grad


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_a_cap_that_is_not_positive_is_refused(cap):
    with pytest.raises(ValueError, match="cap is"):
        truncated_importance(OLD, SAMPLER, MASK, cap)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="importance has shape"):
        grpo_row_losses(OLD, OLD, torch.ones(2), MASK, importance_BT=torch.ones(2, 2))
