"""The loss on a strong model's own responses: LUFFY's shaped term. Cross-entropy is in tests/training/test_step.py."""

import math

import pytest
import torch

from sgpo.objectives import luffy_expert_row_losses

LOGPROBS = torch.tensor([[-0.1, -2.0, -4.0], [-1.0, math.nan, math.nan]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
ADVANTAGES = torch.tensor([0.75, -0.25], dtype=torch.float64)


def test_luffy_shapes_the_probability_and_sums_over_tokens():
    def shaped(logprob: float) -> float:
        return math.exp(logprob) / (math.exp(logprob) + 0.1)

    expected = [-0.75 * (shaped(-0.1) + shaped(-2.0) + shaped(-4.0)), 0.25 * shaped(-1.0)]
    assert luffy_expert_row_losses(LOGPROBS, ADVANTAGES, MASK).tolist() == pytest.approx(expected, abs=1e-12)


def test_gradients_are_numerical_ones_and_zero_where_there_is_no_token():
    def loss(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return luffy_expert_row_losses(x, ADVANTAGES, mask)

    logprobs = torch.where(MASK.bool(), LOGPROBS, -3.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, MASK), (logprobs,))
    (gradient,) = torch.autograd.grad(loss(logprobs, MASK).sum(), logprobs)
    assert (gradient[~MASK.bool()] == 0.0).all()


def test_luffy_pulls_hardest_where_the_student_is_as_unsure_as_the_shaping_constant():
    logprobs = torch.tensor([[0.001, 0.1, 0.9]], dtype=torch.float64).log().requires_grad_()
    loss = luffy_expert_row_losses(logprobs, torch.ones(1), torch.ones(1, 3))
    (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
    assert gradient.abs().argmax() == 1
    assert gradient[0].tolist() == pytest.approx([-0.1 * p / (p + 0.1) ** 2 for p in (0.001, 0.1, 0.9)])


def test_advantages_carry_no_gradient():
    advantages = ADVANTAGES.clone().requires_grad_()
    assert not luffy_expert_row_losses(LOGPROBS, advantages, MASK).requires_grad


@pytest.mark.parametrize("shaping", [0.0, -0.1, math.nan])
def test_a_shaping_constant_that_is_not_positive_is_refused(shaping):
    with pytest.raises(ValueError, match="shaping is"):
        luffy_expert_row_losses(LOGPROBS, ADVANTAGES, MASK, shaping)


def test_advantages_of_another_number_of_rows_are_refused():
    with pytest.raises(ValueError, match="advantages have shape"):
        luffy_expert_row_losses(LOGPROBS, torch.ones(3), MASK)


def test_no_rows_give_an_empty_loss():
    nothing = torch.zeros(0, 4)
    assert luffy_expert_row_losses(nothing, torch.zeros(0), nothing).shape == (0,)
