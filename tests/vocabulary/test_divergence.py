"""Forward and reverse KL against the plain computation over the whole [N, V] matrix in float64 [SGPO Eq. 3]."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import linear_divergence_loss, linear_forward_kl, linear_reverse_kl

BOTH = pytest.mark.parametrize("divergence", [linear_forward_kl, linear_reverse_kl])
CHUNKS = pytest.mark.parametrize("chunk_size", [None, 2])


def inputs(size, seed, scale=1.5):
    tokens, hidden, vocabulary = size
    generator = torch.Generator().manual_seed(seed)
    student_ND, teacher_ND = scale * torch.randn(2, tokens, hidden, dtype=torch.float64, generator=generator)
    weight_VD = scale * torch.randn(vocabulary, hidden, dtype=torch.float64, generator=generator)
    slope_N = torch.randn(tokens, dtype=torch.float64, generator=generator)
    return student_ND.clone().requires_grad_(), teacher_ND, weight_VD.requires_grad_(), slope_N


def plain(divergence, student_ND, teacher_ND, weight_VD, temperature):
    logq_NV = torch.log_softmax(student_ND @ weight_VD.T / temperature, dim=1)
    logp_NV = torch.log_softmax(teacher_ND.detach() @ weight_VD.detach().T / temperature, dim=1)
    if divergence is linear_forward_kl:
        return (logp_NV.exp() * (logp_NV - logq_NV)).sum(dim=1)
    return (logq_NV.exp() * (logq_NV - logp_NV)).sum(dim=1)


@BOTH
@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 11)),
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from([0.3, 0.6, 1.0, 1.7]),
    chunk_size=st.sampled_from([None, 1, 2, 3, 100]),
)
def test_values_and_gradients_are_those_of_the_whole_matrix(divergence, size, seed, temperature, chunk_size):
    student_ND, teacher_ND, weight_VD, slope_N = inputs(size, seed)
    ours = divergence(student_ND, teacher_ND, weight_VD, temperature, chunk_size)
    theirs = plain(divergence, student_ND, teacher_ND, weight_VD, temperature)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    mine = torch.autograd.grad(ours, (student_ND, weight_VD), slope_N)
    reference = torch.autograd.grad(theirs, (student_ND, weight_VD), slope_N)
    for one, other in zip(mine, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@BOTH
@CHUNKS
def test_gradcheck_of_the_student_side(divergence, chunk_size):
    student_ND, teacher_ND, weight_VD, _ = inputs((5, 3, 6), 1)
    assert torch.autograd.gradcheck(
        lambda student: divergence(student, teacher_ND, weight_VD.detach(), 0.7, chunk_size), (student_ND,)
    )


@BOTH
@CHUNKS
def test_gradcheck_of_the_weight_with_the_guided_distribution_held_fixed(divergence, chunk_size):
    # Two hidden spaces side by side: the guided side reads only columns that the perturbation does not touch.
    student_ND, teacher_ND, weight_VD, _ = inputs((5, 3, 6), 2)
    frozen_VD = weight_VD.detach().clone()  # gradcheck perturbs in place
    zeros_ND = torch.zeros_like(teacher_ND)

    def of_weight(weight):
        return divergence(
            torch.cat([student_ND, zeros_ND], 1),
            torch.cat([zeros_ND, teacher_ND], 1),
            torch.cat([weight, frozen_VD], 1),
            0.7,
            chunk_size,
        )

    assert torch.autograd.gradcheck(of_weight, (weight_VD,))


@BOTH
@CHUNKS
def test_no_gradient_reaches_the_guided_side(divergence, chunk_size):
    student_ND, teacher_ND, weight_VD, _ = inputs((5, 3, 6), 4)
    shift_D = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    guided_ND = teacher_ND + shift_D
    guided_ND.retain_grad()
    divergence(student_ND, guided_ND, weight_VD, 1.0, chunk_size).sum().backward()
    assert guided_ND.grad is None or guided_ND.grad.count_nonzero() == 0
    assert shift_D.grad is None or shift_D.grad.count_nonzero() == 0
    assert student_ND.grad.count_nonzero() > 0


@BOTH
@CHUNKS
def test_a_student_that_agrees_has_no_divergence_and_no_gradient(divergence, chunk_size):
    student_ND, _, weight_VD, _ = inputs((5, 3, 6), 5)
    kl_N = divergence(student_ND, student_ND.detach(), weight_VD, 0.6, chunk_size)
    kl_N.sum().backward()
    assert kl_N.count_nonzero() == student_ND.grad.count_nonzero() == weight_VD.grad.count_nonzero() == 0


def test_the_two_directions_are_told_apart_by_hand():
    # Teacher (1/2, 1/2), student (4/5, 1/5): logits are the hidden states themselves under an identity weight.
    student_ND = torch.tensor([[0.8, 0.2]], dtype=torch.float64).log()
    teacher_ND = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    identity_VD = torch.eye(2, dtype=torch.float64)
    assert linear_forward_kl(student_ND, teacher_ND, identity_VD).item() == pytest.approx(0.22314355131420976)
    assert linear_reverse_kl(student_ND, teacher_ND, identity_VD).item() == pytest.approx(0.19274475702175753)


@BOTH
@CHUNKS
def test_a_tied_weight_gets_the_gradient_of_the_student_side_of_both_its_uses(divergence, chunk_size):
    generator = torch.Generator().manual_seed(3)
    weight_VD = torch.randn(6, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    student_tokens_N, guided_tokens_N = torch.tensor([0, 1, 5, 1]), torch.tensor([2, 3, 5, 0])

    def gradient(function):
        student_ND, guided_ND = torch.tanh(weight_VD[student_tokens_N]), torch.tanh(weight_VD[guided_tokens_N])
        return torch.autograd.grad(function(student_ND, guided_ND, weight_VD).square().sum(), weight_VD)[0]

    torch.testing.assert_close(
        gradient(lambda *args: divergence(*args, 0.8, chunk_size)),
        gradient(lambda *args: plain(divergence, *args, 0.8)),
        rtol=0,
        atol=1e-9,
    )


@BOTH
def test_certain_and_opposite_distributions_stay_finite(divergence):
    student_ND = torch.tensor([[3e4]], requires_grad=True)
    weight_VD = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    kl_N = divergence(student_ND, torch.tensor([[-3e4]]), weight_VD)
    kl_N.sum().backward()
    assert kl_N.item() == pytest.approx(6e4)
    assert student_ND.grad.isfinite().all()
    assert weight_VD.grad.isfinite().all()


@BOTH
def test_no_tokens_contribute_exactly_zero(divergence):
    student_ND, teacher_ND, weight_VD, _ = inputs((0, 3, 5), 0)
    divergence(student_ND, teacher_ND, weight_VD).sum().backward()
    assert student_ND.grad.shape == (0, 3)
    assert weight_VD.grad.count_nonzero() == 0


@BOTH
def test_contexts_with_different_responses_are_refused(divergence):
    with pytest.raises(ValueError, match="student_hidden has 3 tokens and teacher_hidden 2"):
        divergence(torch.zeros(3, 2), torch.zeros(2, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="teacher_hidden has shape"):
        divergence(torch.zeros(3, 2), torch.zeros(3, 4), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="temperature is -1"):
        divergence(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(5, 2), temperature=-1.0)


@BOTH
def test_divergence_is_never_negative_where_rounding_would_make_it_so(divergence):
    generator = torch.Generator().manual_seed(0)
    teacher_ND = torch.randn(200, 8, generator=generator)
    student_ND = teacher_ND + 1e-5 * torch.randn(200, 8, generator=generator)
    weight_VD = torch.randn(500, 8, generator=generator)
    logp_NV, logq_NV = ((hidden @ weight_VD.T).log_softmax(dim=1) for hidden in (teacher_ND, student_ND))
    assert (logp_NV.exp() * (logp_NV - logq_NV)).sum(dim=1).min() < 0.0  # as one would write it
    kl_N = divergence(student_ND, teacher_ND, weight_VD)
    _, one_pass_N = linear_divergence_loss(
        student_ND, teacher_ND, weight_VD, lambda kl, _: kl, reverse=divergence is linear_reverse_kl
    )
    for values_N in (kl_N, one_pass_N):
        assert values_N.min() >= 0.0
        assert values_N.max() < 1e-5
