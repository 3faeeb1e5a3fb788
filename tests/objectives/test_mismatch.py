"""The k3 estimate of how far the sampler is from the trainer."""

import math

import pytest
import torch

from sgpo.objectives import sampler_mismatch_kl


def test_equal_probabilities_give_exactly_zero():
    logprobs_N = -torch.rand(6)
    sums = sampler_mismatch_kl(logprobs_N, logprobs_N)
    assert float(sums["mismatch_kl"]) == 0.0
    assert sums["mismatch_tokens"] == 6


def test_the_sum_over_tokens_by_hand():
    trainer_N = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    sums = sampler_mismatch_kl(trainer_N, torch.tensor([-1.3, -1.8, -0.5], dtype=torch.float64))
    expected = (math.exp(0.3) - 1 - 0.3) + (math.exp(-0.2) - 1 + 0.2)
    assert float(sums["mismatch_kl"]) == pytest.approx(expected, abs=1e-12)
    assert sums["mismatch_tokens"] == 3
    assert not torch.as_tensor(sums["mismatch_kl"]).requires_grad


def test_the_estimate_is_the_kl_from_sampler_to_trainer_in_expectation():
    sampler_V, trainer_V = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64).log()
    k3_V = [
        float(sampler_mismatch_kl(q[None], p[None])["mismatch_kl"]) for q, p in zip(trainer_V, sampler_V, strict=True)
    ]
    expectation = sum(p.exp().item() * k3 for p, k3 in zip(sampler_V, k3_V, strict=True))
    assert expectation == pytest.approx((sampler_V.exp() * (sampler_V - trainer_V)).sum().item())
    assert min(k3_V) >= 0.0


def test_small_differences_are_not_lost_in_float32():
    sums = sampler_mismatch_kl(torch.full((1,), 1e-4), torch.zeros(1))
    assert float(sums["mismatch_kl"]) == pytest.approx(5e-9, rel=0.02)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="sampler_logprobs has shape"):
        sampler_mismatch_kl(torch.zeros(2), torch.zeros(3))
