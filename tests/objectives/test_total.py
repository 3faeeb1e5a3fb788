"""Eq. 7: L = L_GRPO + alpha L_KD, averaged over problems."""

import pytest
import torch

from sgpo.objectives import sgpo_loss


def test_the_weighted_sum_is_averaged_over_problems():
    loss = sgpo_loss(torch.tensor([1.0, -2.0]), torch.tensor([4.0, 3.0]), torch.tensor([0.5, 0.0]))
    assert loss.item() == pytest.approx((1.0 + 2.0 - 2.0) / 2)


def test_both_losses_get_gradient_and_alpha_gets_none():
    grpo_P, kd_P, alpha_P = (torch.tensor([0.2, 0.4], requires_grad=True) for _ in range(3))
    sgpo_loss(grpo_P, kd_P, alpha_P).backward()
    assert grpo_P.grad.tolist() == pytest.approx([0.5, 0.5])
    assert kd_P.grad.tolist() == pytest.approx([0.1, 0.2])
    assert alpha_P.grad is None


def test_a_batch_without_problems_contributes_exactly_zero():
    grpo_P = torch.zeros(0, requires_grad=True)
    loss = sgpo_loss(grpo_P, torch.zeros(0), torch.zeros(0))
    loss.backward()
    assert loss.item() == 0.0


def test_losses_of_different_problems_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(2,\), \(1,\)"):
        sgpo_loss(torch.zeros(2), torch.zeros(2), torch.zeros(1))
