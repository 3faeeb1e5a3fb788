"""The one-pass losses have the values and gradients of the two-pass functions, whatever the loss of a token is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import (
    linear_divergence_loss,
    linear_forward_kl,
    linear_logprob_loss,
    linear_reverse_kl,
    linear_token_logprobs,
)

sizes = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(2, 9))
CHUNKS = st.sampled_from([None, 1, 2, 5])
TEMPERATURES = st.sampled_from([1.0, 0.6, 1.7])


def inputs(size, seed):
    tokens, hidden, vocabulary = size
    generator = torch.Generator().manual_seed(seed)
    student_ND, teacher_ND = 1.5 * torch.randn(2, tokens, hidden, dtype=torch.float64, generator=generator)
    weight_VD = 1.5 * torch.randn(vocabulary, hidden, dtype=torch.float64, generator=generator)
    targets_N = torch.randint(vocabulary, (tokens,), generator=generator)
    slope_N = torch.randn(tokens, dtype=torch.float64, generator=generator)
    return student_ND.clone().requires_grad_(), teacher_ND, weight_VD.requires_grad_(), targets_N, slope_N


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 999), TEMPERATURES, CHUNKS, st.booleans())
def test_divergence_loss_is_the_loss_of_the_divergence(size, seed, temperature, chunk_size, reverse):
    student_ND, teacher_ND, weight_VD, _, slope_N = inputs(size, seed)

    def token_loss(kl, span):
        return (kl * (kl <= 1.0) + 0.1 * kl**2) * slope_N[span]

    divergence = linear_reverse_kl if reverse else linear_forward_kl
    expected_N = divergence(student_ND, teacher_ND, weight_VD, temperature, chunk_size)
    expected = token_loss(expected_N, slice(None)).sum()
    gradients = torch.autograd.grad(3.0 * expected, (student_ND, weight_VD))
    loss, kl_N = linear_divergence_loss(student_ND, teacher_ND, weight_VD, token_loss, temperature, chunk_size, reverse)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    assert not kl_N.requires_grad
    torch.testing.assert_close(kl_N, expected_N.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(3.0 * loss, (student_ND, weight_VD)), gradients, atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 999), TEMPERATURES, CHUNKS, st.sampled_from(["logprobs", "entropy", "both"]))
def test_logprob_loss_is_the_loss_of_the_logprobs(size, seed, temperature, chunk_size, uses):
    hidden_ND, _, weight_VD, targets_N, slope_N = inputs(size, seed)

    def token_loss(logprobs, entropy, span):
        first = torch.zeros_like(logprobs) if uses == "entropy" else (logprobs + 2.0).exp()
        return (first if uses == "logprobs" else first - 0.3 * entropy) * slope_N[span]

    values = linear_token_logprobs(hidden_ND, weight_VD, targets_N, temperature, chunk_size)
    expected = token_loss(*values, slice(None)).sum()
    gradients = torch.autograd.grad(expected, (hidden_ND, weight_VD))
    loss, *found = linear_logprob_loss(hidden_ND, weight_VD, targets_N, token_loss, temperature, chunk_size)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    for value_N, expected_N in zip(found, values, strict=True):
        torch.testing.assert_close(value_N, expected_N.detach(), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden_ND, weight_VD)), gradients, atol=1e-9, rtol=0)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradcheck(chunk_size):
    hidden_ND, teacher_ND, weight_VD, targets_N, slope_N = inputs((5, 3, 6), 3)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_logprob_loss(h, w, targets_N, lambda p, e, s: (p - e) * slope_N[s], 0.7, chunk_size)[0],
        (hidden_ND, weight_VD),
    )
    assert torch.autograd.gradcheck(  # the weight's gradient is the student side's alone: not a numerical one
        lambda h: linear_divergence_loss(
            h, teacher_ND, weight_VD.detach(), lambda kl, s: kl * slope_N[s], 0.7, chunk_size
        )[0],
        (hidden_ND,),
    )


def test_masked_tokens_have_exactly_no_gradient():
    student_ND, teacher_ND, weight_VD, _, _ = inputs((6, 3, 5), 1)
    kept_N = torch.tensor([True, False, True, False, False, False])
    loss, _ = linear_divergence_loss(student_ND, teacher_ND, weight_VD, lambda kl, s: kl * kept_N[s], chunk_size=2)
    dstudent_ND, _ = torch.autograd.grad(loss, (student_ND, weight_VD))
    assert (dstudent_ND[~kept_N] == 0.0).all()
    assert (dstudent_ND[kept_N] != 0.0).any(dim=1).all()


def test_no_gradient_reaches_the_guided_side():
    student_ND, teacher_ND, weight_VD, _, _ = inputs((4, 3, 5), 2)
    teacher_ND.requires_grad_()
    loss, _ = linear_divergence_loss(student_ND, teacher_ND, weight_VD, lambda kl, _: kl)
    assert torch.autograd.grad(loss, teacher_ND, allow_unused=True) == (None,)


def test_without_gradient_mode_the_loss_is_only_measured():
    student_ND, teacher_ND, weight_VD, targets_N, _ = inputs((4, 3, 5), 2)
    with torch.no_grad():
        loss, _ = linear_divergence_loss(student_ND, teacher_ND, weight_VD, lambda kl, _: kl)
        other, _, _ = linear_logprob_loss(student_ND, weight_VD, targets_N, lambda p, e, _: p + e)
    assert not loss.requires_grad
    assert not other.requires_grad
    assert math.isfinite(loss.item() + other.item())


def test_no_tokens_contribute_exactly_zero():
    student_ND, teacher_ND, weight_VD, targets_N, _ = inputs((1, 3, 5), 2)
    loss, kl_N = linear_divergence_loss(student_ND[:0], teacher_ND[:0], weight_VD, lambda kl, _: kl)
    other, _, _ = linear_logprob_loss(student_ND[:0], weight_VD, targets_N[:0], lambda p, e, _: p + e)
    (dweight_VD,) = torch.autograd.grad(loss + other, weight_VD)
    assert loss.item() == other.item() == dweight_VD.abs().max().item() == kl_N.numel() == 0


@pytest.mark.parametrize("shape", [(), (2,)])
def test_a_loss_that_is_not_one_number_per_token_is_refused(shape):
    student_ND, teacher_ND, weight_VD, targets_N, _ = inputs((4, 3, 5), 2)
    with pytest.raises(ValueError, match="token_loss gave"):
        linear_divergence_loss(student_ND, teacher_ND, weight_VD, lambda kl, _: kl.sum().expand(shape))
    with pytest.raises(ValueError, match="targets are"):
        linear_logprob_loss(student_ND, weight_VD, targets_N[:2], lambda p, e, _: p)
    with pytest.raises(ValueError, match="same response tokens"):
        linear_divergence_loss(student_ND, teacher_ND[:2], weight_VD, lambda kl, _: kl)
