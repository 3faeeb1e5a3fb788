"""The loss on a strong model's own responses: LUFFY's shaped term. Cross-entropy is in tests/training/test_step.py."""

import math

import pytest
import torch

from sgpo.objectives import luffy_expert_token_losses

LOGPROBS = torch.tensor([-0.1, -2.0, -4.0, -1.0], dtype=torch.float64)
ADVANTAGES = torch.tensor([0.75, 0.75, 0.75, -0.25], dtype=torch.float64)


def test_luffy_shapes_the_probability_of_each_token():
    def shaped(logprob: float) -> float:
        return math.exp(logprob) / (math.exp(logprob) + 0.1)

    expected = [-0.75 * shaped(-0.1), -0.75 * shaped(-2.0), -0.75 * shaped(-4.0), 0.25 * shaped(-1.0)]
    assert luffy_expert_token_losses(LOGPROBS, ADVANTAGES).tolist() == pytest.approx(expected, abs=1e-12)


def test_gradients_are_numerical_ones():
    logprobs = LOGPROBS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: luffy_expert_token_losses(x, ADVANTAGES), (logprobs,))


def test_luffy_pulls_hardest_where_the_student_is_as_unsure_as_the_shaping_constant():
    logprobs = torch.tensor([0.001, 0.1, 0.9], dtype=torch.float64).log().requires_grad_()
    loss = luffy_expert_token_losses(logprobs, torch.ones(3))
    (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
    assert gradient.abs().argmax() == 1
    assert gradient.tolist() == pytest.approx([-0.1 * p / (p + 0.1) ** 2 for p in (0.001, 0.1, 0.9)])


def test_advantages_carry_no_gradient():
    advantages = ADVANTAGES.clone().requires_grad_()
    assert not luffy_expert_token_losses(LOGPROBS, advantages).requires_grad


@pytest.mark.parametrize("shaping", [0.0, -0.1, math.nan])
def test_a_shaping_constant_that_is_not_positive_is_refused(shaping):
    with pytest.raises(ValueError, match="shaping is"):
        luffy_expert_token_losses(LOGPROBS, ADVANTAGES, shaping)


def test_advantages_of_another_number_of_tokens_are_refused():
    with pytest.raises(ValueError, match="advantages has shape"):
        luffy_expert_token_losses(LOGPROBS, torch.ones(1))
