"""Eq. 5: tokens whose KL exceeds delta are left out whole. The divisor |o+| is the caller's: tests/training."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import annealed_delta, clipped_kd_token_losses, linear_forward_kl


@st.composite
def divergences(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return (2 * torch.rand(draw(st.integers(0, 30)), dtype=torch.float64, generator=generator)).requires_grad_()


@settings(deadline=None, max_examples=80)
@given(divergences(), st.sampled_from([None, 0.3, 1.0, 5.0]))
def test_losses_gradients_and_metrics_are_those_of_the_written_term(kl_N, delta):
    loss_N, metrics = clipped_kd_token_losses(kl_N, delta)
    values = kl_N.tolist()
    kept = [delta is None or value <= delta for value in values]
    assert loss_N.tolist() == [value if keep else 0.0 for value, keep in zip(values, kept, strict=True)]
    assert torch.autograd.grad(loss_N.sum(), kl_N)[0].tolist() == [float(keep) for keep in kept]
    left_out = [value for value, keep in zip(values, kept, strict=True) if not keep]
    expected = {
        "tokens": len(values), "tokens_masked": len(left_out), "kl_mass": sum(values), "kl_mass_masked": sum(left_out),
    }  # fmt: skip
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(expected, abs=1e-9)
    assert not any(value.requires_grad for value in metrics.values() if isinstance(value, torch.Tensor))


def test_a_token_at_delta_is_kept_and_one_above_is_left_out():
    kl_N = torch.tensor([0.5, 1.0, 1.0001, 7.0], requires_grad=True)
    loss_N, metrics = clipped_kd_token_losses(kl_N)
    loss_N.sum().backward()
    assert loss_N.tolist() == [0.5, 1.0, 0.0, 0.0]
    assert kl_N.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert float(metrics["tokens_masked"]) == 2
    assert float(metrics["kl_mass_masked"]) == pytest.approx(8.0001)


def test_tokens_that_are_left_out_send_exactly_zero_gradient_to_the_model():
    student_ND = torch.tensor([[4.0, 0.0], [0.1, 0.0]], requires_grad=True)
    teacher_ND = torch.tensor([[0.0, 4.0], [0.0, 0.1]])
    kl_N = linear_forward_kl(student_ND, teacher_ND, torch.eye(2))
    clipped_kd_token_losses(kl_N)[0].sum().backward()
    assert kl_N[0] > 1.0
    assert student_ND.grad[0].count_nonzero() == 0
    assert student_ND.grad[1].count_nonzero() == 2


@pytest.mark.parametrize("delta", [None, 1.0])
@pytest.mark.parametrize("clipping", ["mask", "truncate"])
def test_a_nan_is_not_hidden(delta, clipping):
    loss_N, _ = clipped_kd_token_losses(torch.tensor([0.1, math.nan]), delta, clipping)
    assert loss_N.isnan().tolist() == [False, True]


@pytest.mark.parametrize(
    ("kl", "delta", "message"),
    [
        (torch.zeros(2, 3), 1.0, "kl has shape"),
        (torch.zeros(2), 0.0, "delta is 0.0"),
        (torch.zeros(2), math.nan, "delta is nan"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(kl, delta, message):
    with pytest.raises(ValueError, match=message):
        clipped_kd_token_losses(kl, delta)


def test_truncate_counts_a_token_above_delta_as_delta_and_keeps_its_direction():
    kl_N = torch.tensor([0.5, 4.0], dtype=torch.float64, requires_grad=True)
    loss_N, metrics = clipped_kd_token_losses(kl_N, delta=1.0, clipping="truncate")
    assert loss_N.tolist() == [0.5, 1.0]
    assert torch.autograd.grad(loss_N.sum(), kl_N)[0].tolist() == [1.0, 1.0 / 4.0]
    assert {name: float(value) for name, value in metrics.items()} == {
        "tokens": 2.0, "tokens_masked": 1.0, "kl_mass": 4.5, "kl_mass_masked": 3.0,
    }  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(divergences(), st.sampled_from([0.3, 1.0]))
def test_truncate_and_mask_differ_only_above_delta(kl_N, delta):
    masked_N, truncated_N = (
        torch.autograd.grad(clipped_kd_token_losses(kl_N, delta, clipping)[0].sum(), kl_N)[0]
        for clipping in ("mask", "truncate")
    )
    above_N = kl_N > delta
    assert torch.equal(masked_N[~above_N], truncated_N[~above_N])
    assert (masked_N[above_N] == 0.0).all()
    torch.testing.assert_close(truncated_N[above_N], (delta / kl_N.detach())[above_N], atol=1e-12, rtol=0)


def test_truncated_loss_is_continuous_at_delta():
    kl_N = torch.tensor([1.0 - 1e-9, 1.0 + 1e-9], dtype=torch.float64)
    below, above = clipped_kd_token_losses(kl_N, 1.0, "truncate")[0].tolist()
    assert below == pytest.approx(above, abs=1e-8)


def test_an_unknown_clipping_is_refused():
    with pytest.raises(ValueError, match="clipping is 'cut'"):
        clipped_kd_token_losses(torch.zeros(1), 1.0, "cut")  # type: ignore[arg-type]


def test_delta_is_annealed_linearly_from_the_first_to_the_last_step():
    assert [annealed_delta(1.0, 0.2, step, 5) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert annealed_delta(1.0, None, 3, 5) == 1.0
    assert annealed_delta(None, None, 3, 5) is None
    assert annealed_delta(1.0, 0.5, 0, 1) == 1.0
    with pytest.raises(ValueError, match="expected a delta to start from"):
        annealed_delta(None, 0.5, 0, 5)
