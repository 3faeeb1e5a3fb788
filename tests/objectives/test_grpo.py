"""Eq. 1: advantages within a group and the clipped surrogate, against plain Python loops in float64."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import group_advantages, grpo_row_losses, outer_denominator

rewards_lists = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=2, max_size=9)


@st.composite
def batches(draw):
    """(logprobs, old logprobs, advantages, mask) with ratios on both sides of both bounds, padding full of NaN."""
    rows, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logprobs_BT = -3 * torch.rand(rows, width, dtype=torch.float64, generator=generator)
    old_BT = logprobs_BT + 0.4 * torch.randn(rows, width, dtype=torch.float64, generator=generator)
    advantages_B = torch.randn(rows, dtype=torch.float64, generator=generator)
    mask_BT = torch.rand(rows, width, generator=generator) < 0.7
    mask_BT[torch.arange(rows), torch.randint(width, (rows,), generator=generator)] = True
    logprobs_BT[~mask_BT] = math.nan
    return logprobs_BT.requires_grad_(), old_BT, advantages_B, mask_BT


def loop_losses(logprobs_BT, old_BT, advantages_B, mask_BT, low, high, per_token):
    """Row losses, their gradients, and clipped tokens, in scalars."""
    losses, gradients, clipped = [], torch.zeros_like(logprobs_BT), 0
    for i, advantage in enumerate(advantages_B.tolist()):
        positions = [t for t in range(mask_BT.shape[1]) if mask_BT[i, t]]
        divisor = 1 if per_token else len(positions)
        total = 0.0
        for t in positions:
            ratio = math.exp(float(logprobs_BT[i, t]) - float(old_BT[i, t]))
            free, bound = ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage
            total += min(free, bound)
            if bound < free:
                clipped += 1
            else:
                gradients[i, t] = -ratio * advantage / divisor
        losses.append(-total / divisor)
    return torch.tensor(losses, dtype=torch.float64), gradients, clipped


def batch_loss(*batch, normalization="sequence", constant_length=None):
    """Row losses over the batch's outer denominator, as training/step.py divides them."""
    loss_B, metrics = grpo_row_losses(*batch, normalization=normalization)
    tokens = float(metrics["grpo_tokens"])
    return loss_B.sum() / outer_denominator(normalization, loss_B.shape[0], tokens, constant_length), metrics


@settings(deadline=None, max_examples=80)
@given(batches(), st.sampled_from([(0.2, 0.28), (0.1, 0.5), (0.0, 0.0)]), st.sampled_from(["sequence", "token"]))
def test_row_losses_and_gradients_are_those_of_the_written_sum(batch, clip, normalization):
    logprobs_BT, old_BT, advantages_B, mask_BT = batch
    loss_B, metrics = grpo_row_losses(*batch, *clip, normalization)
    expected_B, gradients_BT, clipped = loop_losses(
        logprobs_BT.detach(), old_BT, advantages_B, mask_BT, *clip, normalization == "token"
    )
    torch.testing.assert_close(loss_B, expected_B, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        torch.autograd.grad(loss_B.sum(), logprobs_BT)[0], gradients_BT.detach(), rtol=0, atol=1e-7
    )
    assert metrics["clipped"].item() == clipped
    assert metrics["grpo_tokens"].item() == mask_BT.sum()
    assert metrics["ratio_max"].item() == pytest.approx((logprobs_BT - old_BT)[mask_BT].exp().max().item())
    assert not any(value.requires_grad for value in metrics.values())


@settings(deadline=None, max_examples=30)
@given(batches(), st.sampled_from(["sequence", "token"]))
def test_the_whole_loss_is_the_mean_over_responses_or_over_tokens(batch, normalization):
    loss, metrics = batch_loss(*batch, normalization=normalization)
    loss_B, _, clipped = loop_losses(batch[0].detach(), *batch[1:], 0.2, 0.28, normalization == "token")
    tokens = int(batch[3].sum())
    expected = loss_B.sum().item() / (len(loss_B) if normalization == "sequence" else tokens)
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    assert metrics["clipped"].item() == clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.27, 1.0, -1.27, -1.27),  # inside the upper bound
        (1.29, 1.0, -1.28, 0.0),  # above it, being encouraged: enough
        (1.29, -1.0, 1.29, 1.29),  # above it, being discouraged: still pushed down
        (0.81, -1.0, 0.81, 0.81),  # inside the lower bound
        (0.79, -1.0, 0.80, 0.0),  # below it, being discouraged: enough
        (0.79, 1.0, -0.79, -0.79),  # below it, being encouraged: still pushed up
        (1.00, 2.0, -2.0, -2.0),  # on policy
        (1.50, 0.0, 0.0, 0.0),  # nothing to learn
    ],
)
def test_clipping_binds_only_in_the_direction_of_the_advantage(ratio, advantage, loss, gradient):
    logprobs_BT = torch.tensor([[math.log(ratio) - 1.0]], dtype=torch.float64, requires_grad=True)
    old_BT = torch.tensor([[-1.0]], dtype=torch.float64, requires_grad=True)
    loss_B, metrics = grpo_row_losses(logprobs_BT, old_BT, torch.tensor([advantage]), torch.ones(1, 1))
    loss_B.sum().backward()
    assert loss_B.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs_BT.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert metrics["clipped"].item() == (gradient == 0.0 and advantage != 0.0)
    assert old_BT.grad is None


def test_gradient_reaches_the_current_policy_alone():
    logprobs_BT, old_BT = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    advantages_B = torch.ones(1, requires_grad=True)
    batch_loss(logprobs_BT, old_BT, advantages_B, torch.ones(1, 2))[0].backward()
    assert logprobs_BT.grad.tolist() == [[-0.5, -0.5]]
    assert old_BT.grad is None
    assert advantages_B.grad is None


def test_the_default_bounds_are_the_papers():
    logprobs_BT = torch.tensor([[math.log(1.5)], [math.log(0.5)]], dtype=torch.float64)
    loss_B, _ = grpo_row_losses(logprobs_BT, torch.zeros(2, 1), torch.tensor([1.0, -1.0]), torch.ones(2, 1))
    assert loss_B.tolist() == pytest.approx([-1.28, 0.8])
    assert batch_loss(logprobs_BT, torch.zeros(2, 1), torch.tensor([1.0, -1.0]), torch.ones(2, 1))[0].item() == (
        pytest.approx((-1.28 + 0.8) / 2)
    )


def test_zero_advantage_gives_zero_loss_and_zero_gradient():
    logprobs_BT = torch.randn(3, 4, requires_grad=True)
    loss, _ = batch_loss(logprobs_BT, torch.randn(3, 4), torch.zeros(3), torch.ones(3, 4))
    loss.backward()
    assert loss.item() == 0.0
    assert logprobs_BT.grad.count_nonzero() == 0


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_padding_touches_neither_value_nor_gradient(poison):
    logprobs_BT = torch.tensor([[-1.0, poison], [-2.0, -0.5]], requires_grad=True)
    mask_BT = torch.tensor([[True, False], [True, True]])
    loss, metrics = batch_loss(logprobs_BT, torch.full((2, 2), -1.0), torch.tensor([1.0, -1.0]), mask_BT)
    loss.backward()
    assert all(tensor.isfinite().all() for tensor in (loss, logprobs_BT.grad, *metrics.values()))
    assert logprobs_BT.grad[0, 1] == 0.0


@settings(deadline=None, max_examples=30)
@given(batches(), st.data(), st.sampled_from(["sequence", "token"]))
def test_any_split_into_microbatches_gives_the_same_loss_gradient_and_metrics(batch, data, normalization):
    whole, metrics = batch_loss(*batch, normalization=normalization)
    gradient_BT = torch.autograd.grad(whole, batch[0])[0]
    rows = batch[0].shape[0]
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=4)))  # equal cuts make empty micro-batches
    outer = rows if normalization == "sequence" else int(batch[3].sum())
    total, parts = 0.0, []
    for start, stop in zip([0, *cuts], [*cuts, rows], strict=True):
        loss_B, part = grpo_row_losses(*(tensor[start:stop] for tensor in batch), normalization=normalization)
        total = total + loss_B.sum() / outer
        parts.append(part)
    assert total.item() == pytest.approx(whole.item(), abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(total, batch[0])[0], gradient_BT, rtol=0, atol=1e-12)
    assert sum(part["clipped"].item() for part in parts) == metrics["clipped"].item()
    assert sum(part["grpo_tokens"].item() for part in parts) == metrics["grpo_tokens"].item()
    assert max(part["ratio_max"].item() for part in parts) == metrics["ratio_max"].item()


@pytest.mark.parametrize("normalization", ["sequence", "token"])
def test_an_empty_batch_contributes_exactly_zero(normalization):
    logprobs_BT = torch.zeros(0, 4, requires_grad=True)
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4)
    loss, _ = batch_loss(logprobs_BT, *nothing, normalization=normalization)
    loss.backward()
    assert loss.item() == 0.0
    assert logprobs_BT.grad.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_logprobs_BT": torch.zeros(2, 4)}, r"old_logprobs has shape \(2, 4\) \(expected \(2, 3\)"),
        ({"advantages_B": torch.zeros(3)}, "advantages have shape"),
        ({"mask_BT": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "row 1 of the mask has no token"),
        ({"mask_BT": torch.full((2, 3), 0.5)}, "other than 0 and 1"),
        ({"mask_BT": torch.ones(6)}, "mask has shape"),
        ({"normalization": "batch"}, "normalization is 'batch'"),
        ({"clip_low": -0.1}, "clip bounds"),
        ({"clip_high": -0.1}, "clip bounds"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(change, message):
    good = {
        "logprobs_BT": torch.zeros(2, 3),
        "old_logprobs_BT": torch.zeros(2, 3),
        "advantages_B": torch.zeros(2),
        "mask_BT": torch.ones(2, 3),
    }
    grpo_row_losses(**good)
    with pytest.raises(ValueError, match=message):
        grpo_row_losses(**(good | change))


@given(rewards_lists, st.booleans())
def test_advantages_are_centred_and_divided_by_the_sample_standard_deviation(rewards, normalize_std):
    mean = math.fsum(rewards) / len(rewards)
    divisor = statistics.stdev(rewards) + 1e-6 if normalize_std else 1.0
    expected = [0.0 if len(set(rewards)) == 1 else (reward - mean) / divisor for reward in rewards]
    mine = group_advantages(torch.tensor(rewards, dtype=torch.float64), normalize_std)
    assert mine.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("normalize_std", [True, False])
def test_equal_rewards_and_groups_of_one_have_exactly_zero_advantage(value, size, normalize_std):
    assert group_advantages(torch.full((size,), value), normalize_std).tolist() == [0.0] * size


def test_one_success_in_eight_by_hand():
    advantages_G = group_advantages(torch.tensor([1, 0, 0, 0, 0, 0, 0, 0]))
    assert advantages_G[0].item() == pytest.approx(7 / 8 / math.sqrt(1 / 8), rel=1e-5)
    assert advantages_G[1].item() == pytest.approx(-1 / 8 / math.sqrt(1 / 8), rel=1e-5)


def test_several_groups_are_normalised_apart_and_the_equal_one_is_zero():
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1.0, 1.0, 0.0]], dtype=torch.float64)
    expected = torch.stack([group_advantages(rewards_G) for rewards_G in rewards_PG])
    torch.testing.assert_close(group_advantages(rewards_PG), expected)
    assert group_advantages(rewards_PG)[1].count_nonzero() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="rewards are not all finite"):
        group_advantages(torch.tensor([0.0, bad]))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (), (1, 2, 3)])
def test_groups_without_rewards_or_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="rewards have shape"):
        group_advantages(torch.zeros(shape))


@settings(deadline=None, max_examples=30)
@given(batches(), st.sampled_from([(None, None), (None, 0.28), (0.2, None)]))
def test_a_bound_of_none_does_not_clip(batch, clip):
    logprobs_BT, old_BT, advantages_B, mask_BT = batch
    loss_B, metrics = grpo_row_losses(*batch, *clip)
    low, high = 1.0 if clip[0] is None else clip[0], 1e9 if clip[1] is None else clip[1]
    expected_B, gradients_BT, clipped = loop_losses(
        logprobs_BT.detach(), old_BT, advantages_B, mask_BT, low, high, per_token=False
    )
    torch.testing.assert_close(loss_B, expected_B, rtol=0, atol=1e-9)
    gradient_BT = torch.autograd.grad(loss_B.sum(), logprobs_BT)[0]
    torch.testing.assert_close(gradient_BT, gradients_BT.detach(), rtol=0, atol=1e-7)
    assert metrics["clipped"].item() == clipped


@settings(deadline=None, max_examples=30)
@given(batches(), st.integers(1, 50))
def test_constant_length_divides_the_sum_over_tokens_by_one_length_for_all(batch, length):
    loss, _ = batch_loss(*batch, normalization="constant", constant_length=length)
    loss_B, _, _ = loop_losses(batch[0].detach(), *batch[1:], 0.2, 0.28, per_token=True)
    assert loss.item() == pytest.approx(loss_B.sum().item() / (len(loss_B) * length), abs=1e-9)


@pytest.mark.parametrize("length", [None, 0.0, -3.0, math.nan])
def test_a_constant_length_that_is_no_length_is_refused(length):
    with pytest.raises(ValueError, match="constant_length is"):
        outer_denominator("constant", 4.0, 20.0, length)


def test_the_outer_denominator_of_nothing_is_one():
    assert outer_denominator("sequence", 0.0, 0.0) == outer_denominator("token", 0.0, 0.0) == 1.0
    assert outer_denominator("constant", 0.0, 0.0, 7.0) == 7.0
