"""Eq. 1: advantages within a group and the clipped surrogate, against plain Python loops in float64."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import group_advantages, grpo_token_losses, outer_denominator

rewards_lists = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=2, max_size=9)


@st.composite
def batches(draw):
    """(logprobs, old logprobs, advantages) of N tokens, with ratios on both sides of both bounds."""
    tokens = draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logprobs_N = -3 * torch.rand(tokens, dtype=torch.float64, generator=generator)
    old_N = logprobs_N + 0.4 * torch.randn(tokens, dtype=torch.float64, generator=generator)
    return logprobs_N.requires_grad_(), old_N, torch.randn(tokens, dtype=torch.float64, generator=generator)


def loop_losses(logprobs_N, old_N, advantages_N, low, high):
    """Losses of tokens, their gradients, and how many are clipped, in scalars."""
    losses, gradients, clipped = [], [], 0
    for logprob, old, advantage in zip(logprobs_N.tolist(), old_N.tolist(), advantages_N.tolist(), strict=True):
        ratio = math.exp(logprob - old)
        free, bound = ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage
        losses.append(-min(free, bound))
        gradients.append(0.0 if bound < free else -ratio * advantage)
        clipped += bound < free
    return losses, gradients, clipped


@settings(deadline=None, max_examples=80)
@given(batches(), st.sampled_from([(0.2, 0.28), (0.1, 0.5), (0.0, 0.0)]))
def test_losses_and_gradients_of_tokens_are_those_of_the_written_term(batch, clip):
    loss_N, metrics = grpo_token_losses(*batch, *clip)
    losses, gradients, clipped = loop_losses(*batch, *clip)
    assert loss_N.tolist() == pytest.approx(losses, abs=1e-9)
    assert torch.autograd.grad(loss_N.sum(), batch[0])[0].tolist() == pytest.approx(gradients, abs=1e-7)
    assert float(metrics["clipped"]) == clipped
    assert metrics["grpo_tokens"] == len(losses)
    assert float(metrics["ratio_max"]) == pytest.approx((batch[0] - batch[1]).exp().max().item())
    assert not any(value.requires_grad for value in metrics.values() if isinstance(value, torch.Tensor))


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
    logprobs_N = torch.tensor([math.log(ratio) - 1.0], dtype=torch.float64, requires_grad=True)
    old_N = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    loss_N, metrics = grpo_token_losses(logprobs_N, old_N, torch.tensor([advantage]))
    loss_N.sum().backward()
    assert loss_N.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs_N.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert float(metrics["clipped"]) == (gradient == 0.0 and advantage != 0.0)
    assert old_N.grad is None


def test_gradient_reaches_the_current_policy_alone():
    logprobs_N, old_N = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    advantages_N = torch.ones(2, requires_grad=True)
    grpo_token_losses(logprobs_N, old_N, advantages_N)[0].sum().backward()
    assert logprobs_N.grad.tolist() == [-1.0, -1.0]
    assert old_N.grad is None
    assert advantages_N.grad is None


def test_the_default_bounds_are_the_papers():
    logprobs_N = torch.tensor([math.log(1.5), math.log(0.5)], dtype=torch.float64)
    loss_N, _ = grpo_token_losses(logprobs_N, torch.zeros(2), torch.tensor([1.0, -1.0]))
    assert loss_N.tolist() == pytest.approx([-1.28, 0.8])


def test_zero_advantage_gives_zero_loss_and_zero_gradient():
    logprobs_N = torch.randn(12, requires_grad=True)
    loss = grpo_token_losses(logprobs_N, torch.randn(12), torch.zeros(12))[0].sum()
    loss.backward()
    assert loss.item() == 0.0
    assert logprobs_N.grad.count_nonzero() == 0


@settings(deadline=None, max_examples=30)
@given(batches(), st.data())
def test_any_split_into_chunks_gives_the_same_losses_and_metrics(batch, data):
    whole_N, metrics = grpo_token_losses(*batch)
    tokens = len(whole_N)
    cuts = sorted(data.draw(st.lists(st.integers(0, tokens), max_size=4)))  # equal cuts make empty chunks
    parts = [
        grpo_token_losses(*(tensor[start:stop] for tensor in batch))
        for start, stop in zip([0, *cuts], [*cuts, tokens], strict=True)
    ]
    assert torch.equal(torch.cat([loss_N for loss_N, _ in parts]), whole_N)
    for name in ("clipped", "grpo_tokens"):
        assert sum(float(part[name]) for _, part in parts) == float(metrics[name])
    assert max(float(part["ratio_max"]) for _, part in parts) == float(metrics["ratio_max"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_logprobs_N": torch.zeros(4)}, r"old_logprobs has shape \(4,\) \(expected \[3\]"),
        ({"advantages_N": torch.zeros(1)}, "advantages has shape"),
        ({"logprobs_N": torch.zeros(1, 3)}, "logprobs has shape"),
        ({"importance_N": torch.zeros(2)}, "importance has shape"),
        ({"clip_low": -0.1}, "clip bounds"),
        ({"clip_high": -0.1}, "clip bounds"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(change, message):
    good = {"logprobs_N": torch.zeros(3), "old_logprobs_N": torch.zeros(3), "advantages_N": torch.zeros(3)}
    grpo_token_losses(**good)
    with pytest.raises(ValueError, match=message):
        grpo_token_losses(**(good | change))


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
    loss_N, metrics = grpo_token_losses(*batch, *clip)
    low, high = 1.0 if clip[0] is None else clip[0], 1e9 if clip[1] is None else clip[1]
    losses, gradients, clipped = loop_losses(*batch, low, high)
    assert loss_N.tolist() == pytest.approx(losses, abs=1e-9)
    assert torch.autograd.grad(loss_N.sum(), batch[0])[0].tolist() == pytest.approx(gradients, abs=1e-7)
    assert float(metrics["clipped"]) == clipped


@pytest.mark.parametrize(("how", "expected"), [("sequence", 4.0), ("token", 20.0), ("constant", 28.0)])
def test_a_batch_is_divided_by_its_responses_its_tokens_or_a_constant_length_of_each(how, expected):
    assert outer_denominator(how, responses=4.0, tokens=20.0, constant_length=7.0) == expected


@pytest.mark.parametrize("length", [None, 0.0, -3.0, math.nan])
def test_a_constant_length_that_is_no_length_is_refused(length):
    with pytest.raises(ValueError, match="constant_length is"):
        outer_denominator("constant", 4.0, 20.0, length)


def test_the_outer_denominator_of_nothing_is_one():
    assert outer_denominator("sequence", 0.0, 0.0) == outer_denominator("token", 0.0, 0.0) == 1.0
    assert outer_denominator("constant", 0.0, 0.0, 7.0) == 7.0
