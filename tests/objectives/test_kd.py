"""Eq. 5: tokens whose KL exceeds delta are left out whole; the divisor stays the length of the response."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import annealed_delta, clipped_kd_loss, linear_forward_kl


@st.composite
def batches(draw):
    rows, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kl_BT = 2 * torch.rand(rows, width, dtype=torch.float64, generator=generator)
    mask_BT = torch.rand(rows, width, generator=generator) < 0.7
    mask_BT[torch.arange(rows), torch.randint(width, (rows,), generator=generator)] = True
    kl_BT[~mask_BT] = math.nan
    return kl_BT.requires_grad_(), mask_BT


@settings(deadline=None, max_examples=80)
@given(batches(), st.sampled_from([None, 0.3, 1.0, 5.0]))
def test_loss_gradient_and_metrics_are_those_of_the_written_sum(batch, delta):
    kl_BT, mask_BT = batch
    loss_B, metrics = clipped_kd_loss(kl_BT, mask_BT, delta)
    gradient_BT = torch.zeros_like(kl_BT)
    expected = {"tokens": 0.0, "tokens_masked": 0.0, "kl_mass": 0.0, "kl_mass_masked": 0.0}
    for i in range(kl_BT.shape[0]):
        positions = [t for t in range(kl_BT.shape[1]) if mask_BT[i, t]]
        total = 0.0
        for t in positions:
            value = kl_BT[i, t].item()
            kept = delta is None or value <= delta
            total += value if kept else 0.0
            gradient_BT[i, t] = 1 / len(positions) if kept else 0.0
            expected["tokens"] += 1
            expected["kl_mass"] += value
            expected["tokens_masked"] += not kept
            expected["kl_mass_masked"] += 0.0 if kept else value
        assert loss_B[i].item() == pytest.approx(total / len(positions), abs=1e-9)
    torch.testing.assert_close(torch.autograd.grad(loss_B.sum(), kl_BT)[0], gradient_BT.detach(), rtol=0, atol=1e-9)
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, abs=1e-9)
    assert not any(value.requires_grad for value in metrics.values())


def test_a_token_at_delta_is_kept_and_one_above_is_left_out_with_the_divisor_unchanged():
    kl_BT = torch.tensor([[0.5, 1.0, 1.0001, 7.0]], requires_grad=True)
    loss_B, metrics = clipped_kd_loss(kl_BT, torch.ones(1, 4))
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(1.5 / 4)
    assert kl_BT.grad.tolist() == [[0.25, 0.25, 0.0, 0.0]]
    assert metrics["tokens_masked"].item() == 2
    assert metrics["kl_mass_masked"].item() == pytest.approx(8.0001)


def test_tokens_that_are_left_out_send_exactly_zero_gradient_to_the_model():
    student_ND = torch.tensor([[4.0, 0.0], [0.1, 0.0]], requires_grad=True)
    teacher_ND = torch.tensor([[0.0, 4.0], [0.0, 0.1]])
    kl_N = linear_forward_kl(student_ND, teacher_ND, torch.eye(2))
    loss_B, _ = clipped_kd_loss(kl_N[None], torch.ones(1, 2, dtype=torch.bool))
    loss_B.sum().backward()
    assert kl_N[0] > 1.0
    assert student_ND.grad[0].count_nonzero() == 0
    assert student_ND.grad[1].count_nonzero() == 2


def test_a_response_that_is_left_out_altogether_costs_nothing():
    kl_BT = torch.full((1, 3), 2.0, requires_grad=True)
    loss_B, _ = clipped_kd_loss(kl_BT, torch.ones(1, 3))
    loss_B.sum().backward()
    assert loss_B.item() == 0.0
    assert kl_BT.grad.count_nonzero() == 0


def test_a_nan_at_a_response_token_is_not_hidden():
    loss_B, _ = clipped_kd_loss(torch.tensor([[0.1, math.nan]]), torch.ones(1, 2))
    assert loss_B.isnan().all()


def test_an_empty_batch_contributes_exactly_zero():
    kl_BT = torch.zeros(0, 3, requires_grad=True)
    loss_B, metrics = clipped_kd_loss(kl_BT, torch.zeros(0, 3))
    loss_B.sum().backward()
    assert loss_B.shape == (0,)
    assert [value.item() for value in metrics.values()] == [0.0] * 4


@pytest.mark.parametrize(
    ("kl", "mask", "delta", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 2), 1.0, "kl has shape"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 1.0, "row 0 of the mask has no token"),
        (torch.zeros(2, 3), torch.ones(2, 3), 0.0, "delta is 0.0"),
        (torch.zeros(2, 3), torch.ones(2, 3), math.nan, "delta is nan"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(kl, mask, delta, message):
    with pytest.raises(ValueError, match=message):
        clipped_kd_loss(kl, mask, delta)


def test_truncate_counts_a_token_above_delta_as_delta_and_keeps_its_direction():
    kl_BT = torch.tensor([[0.5, 4.0]], dtype=torch.float64, requires_grad=True)
    loss_B, metrics = clipped_kd_loss(kl_BT, torch.ones(1, 2), delta=1.0, clipping="truncate")
    assert loss_B.tolist() == [(0.5 + 1.0) / 2]
    assert torch.autograd.grad(loss_B.sum(), kl_BT)[0].tolist() == [[0.5, 0.5 * 1.0 / 4.0]]
    assert {name: value.item() for name, value in metrics.items()} == {
        "tokens": 2.0, "tokens_masked": 1.0, "kl_mass": 4.5, "kl_mass_masked": 3.0,
    }  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(batches(), st.sampled_from([0.3, 1.0]))
def test_truncate_and_mask_differ_only_above_delta(batch, delta):
    kl_BT, mask_BT = batch
    gradients = {}
    for clipping in ("mask", "truncate"):
        loss_B, _ = clipped_kd_loss(kl_BT, mask_BT, delta, clipping)
        gradients[clipping] = torch.autograd.grad(loss_B.sum(), kl_BT)[0]
    above_BT = mask_BT & (kl_BT > delta)
    assert torch.equal(gradients["mask"][~above_BT], gradients["truncate"][~above_BT])
    assert (gradients["mask"][above_BT] == 0.0).all()
    share_BT = (delta / kl_BT.detach()) / mask_BT.sum(dim=1, keepdim=True)
    torch.testing.assert_close(gradients["truncate"][above_BT], share_BT[above_BT], atol=1e-12, rtol=0)


def test_truncated_loss_is_continuous_at_delta():
    kl_BT = torch.tensor([[1.0 - 1e-9], [1.0 + 1e-9]], dtype=torch.float64)
    below, above = clipped_kd_loss(kl_BT, torch.ones(2, 1), 1.0, "truncate")[0].tolist()
    assert below == pytest.approx(above, abs=1e-8)


def test_an_unknown_clipping_is_refused():
    with pytest.raises(ValueError, match="clipping is 'cut'"):
        clipped_kd_loss(torch.zeros(1, 1), torch.ones(1, 1), 1.0, "cut")  # type: ignore[arg-type]


def test_delta_is_annealed_linearly_from_the_first_to_the_last_step():
    assert [annealed_delta(1.0, 0.2, step, 5) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert annealed_delta(1.0, None, 3, 5) == 1.0
    assert annealed_delta(None, None, 3, 5) is None
    assert annealed_delta(1.0, 0.5, 0, 1) == 1.0
    with pytest.raises(ValueError, match="expected a delta to start from"):
        annealed_delta(None, 0.5, 0, 5)
