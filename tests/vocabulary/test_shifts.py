"""What a strategy changes at a token, against the plain computation over the whole [N, V] matrix in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.vocabulary.shifts import linear_shifts


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 11)),
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from([0.6, 1.0, 1.7]),
    chunk_size=st.sampled_from([None, 1, 3]),
    top=st.integers(1, 12),
    reverse=st.booleans(),
    own_weight=st.booleans(),
)
def test_shifts_are_those_of_the_whole_matrix(size, seed, temperature, chunk_size, top, reverse, own_weight):
    tokens, hidden, vocabulary = size
    generator = torch.Generator().manual_seed(seed)
    student_ND, teacher_ND = torch.randn(2, tokens, hidden, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, vocabulary, hidden, dtype=torch.float64, generator=generator)
    targets_N = torch.randint(vocabulary, (tokens,), generator=generator)
    guide_VD = weights[1] if own_weight else weights[0]
    found = linear_shifts(
        student_ND, teacher_ND, weights[0], targets_N, top, temperature, chunk_size, reverse,
        guide_VD if own_weight else None,
    )  # fmt: skip
    q_NV = torch.softmax(student_ND @ weights[0].T / temperature, dim=1)
    p_NV = torch.softmax(teacher_ND @ guide_VD.T / temperature, dim=1)
    first, second = (q_NV, p_NV) if reverse else (p_NV, q_NV)
    torch.testing.assert_close(found.kl_N, (first * (first / second).log()).sum(dim=1), rtol=0, atol=1e-9)
    every_N = torch.arange(tokens)
    torch.testing.assert_close(found.logprobs_N, q_NV[every_N, targets_N].log())
    torch.testing.assert_close(found.guided_logprobs_N, p_NV[every_N, targets_N].log())
    for token in range(tokens):
        k = min(top, vocabulary)
        ids = found.ids_NK[token].tolist()
        assert len(ids) == 2 * k
        for side, probabilities in ((ids[:k], q_NV[token]), (ids[k:], p_NV[token])):
            likeliest = sorted(probabilities.tolist(), reverse=True)[:k]
            assert [probabilities[one].item() for one in side] == pytest.approx(likeliest, abs=1e-12)
        torch.testing.assert_close(found.probs_NK[token], q_NV[token, ids])
        torch.testing.assert_close(found.guided_probs_NK[token], p_NV[token, ids])


def test_rows_are_cut_in_order():
    found = linear_shifts(torch.randn(5, 3), torch.randn(5, 3), torch.randn(7, 3), torch.arange(5), 2)
    first, second = found.rows([2, 3])
    assert torch.equal(torch.cat([first.kl_N, second.kl_N]), found.kl_N)
    assert (first.ids_NK.shape, second.ids_NK.shape) == ((2, 4), (3, 4))


def test_other_tokens_in_the_two_contexts_are_refused():
    with pytest.raises(ValueError, match="student_hidden has 5 tokens, teacher_hidden 4"):
        linear_shifts(torch.randn(5, 3), torch.randn(4, 3), torch.randn(7, 3), torch.arange(5), 2)
