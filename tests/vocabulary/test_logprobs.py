"""linear_token_logprobs against the plain computation over the whole [N, V] matrix in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.objectives import linear_token_logprobs
from sgpo.vocabulary import projection as projection_module

sizes = st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 11))  # tokens, hidden, vocabulary
temperatures = st.sampled_from([0.3, 0.6, 1.0, 1.7])
chunk_sizes = st.sampled_from([None, 1, 2, 3, 100])
seeds = st.integers(0, 2**31)


def inputs(size, seed, scale=1.5):
    tokens, hidden, vocabulary = size
    generator = torch.Generator().manual_seed(seed)
    hidden_ND = scale * torch.randn(tokens, hidden, dtype=torch.float64, generator=generator)
    weight_VD = scale * torch.randn(vocabulary, hidden, dtype=torch.float64, generator=generator)
    targets_N = torch.randint(vocabulary, (tokens,), generator=generator)
    slopes_2N = torch.randn(2, tokens, dtype=torch.float64, generator=generator)
    return hidden_ND.requires_grad_(), weight_VD.requires_grad_(), targets_N, slopes_2N


def plain(hidden_ND, weight_VD, targets_N, temperature):
    logprobs_NV = torch.log_softmax(hidden_ND @ weight_VD.T / temperature, dim=1)
    return logprobs_NV[torch.arange(len(targets_N)), targets_N], -(logprobs_NV.exp() * logprobs_NV).sum(dim=1)


@settings(deadline=None, max_examples=60)
@given(sizes, seeds, temperatures, chunk_sizes)
def test_values_and_gradients_are_those_of_the_whole_matrix(size, seed, temperature, chunk_size):
    hidden_ND, weight_VD, targets_N, (dlogprobs_N, dentropy_N) = inputs(size, seed)
    ours = linear_token_logprobs(hidden_ND, weight_VD, targets_N, temperature, chunk_size)
    theirs = plain(hidden_ND, weight_VD, targets_N, temperature)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9)

    for slopes in [(dlogprobs_N, None), (None, dentropy_N), (dlogprobs_N, dentropy_N)]:

        def gradients(outputs, slopes=slopes):
            used = [(output, slope) for output, slope in zip(outputs, slopes, strict=True) if slope is not None]
            total = sum((output * slope).sum() for output, slope in used)
            return torch.autograd.grad(total, (hidden_ND, weight_VD), retain_graph=True)

        for mine, reference in zip(gradients(ours), gradients(theirs), strict=True):
            torch.testing.assert_close(mine, reference, rtol=0, atol=1e-7)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradcheck(chunk_size, temperature):
    hidden_ND, weight_VD, targets_N, _ = inputs((5, 3, 6), 1)
    assert torch.autograd.gradcheck(
        lambda hidden, weight: linear_token_logprobs(hidden, weight, targets_N, temperature, chunk_size),
        (hidden_ND, weight_VD),
    )


def test_a_uniform_distribution_has_logprob_minus_log_v_and_entropy_log_v():
    logprobs_N, entropy_N = linear_token_logprobs(torch.zeros(2, 3), torch.randn(7, 3), torch.tensor([0, 6]))
    assert logprobs_N.tolist() == pytest.approx([-math.log(7)] * 2)
    assert entropy_N.tolist() == pytest.approx([math.log(7)] * 2)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_certain_distribution_stays_finite(chunk_size):
    hidden_ND = torch.tensor([[3e4], [-3e4], [0.0]], requires_grad=True)
    weight_VD = torch.tensor([[1.0], [-1.0], [0.5]], requires_grad=True)
    outputs = linear_token_logprobs(hidden_ND, weight_VD, torch.tensor([0, 0, 2]), 1.0, chunk_size)
    sum(output.sum() for output in outputs).backward()
    for tensor in (*outputs, hidden_ND.grad, weight_VD.grad):
        assert tensor.isfinite().all()
    assert outputs[1][:2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_tied_weight_gets_the_gradient_of_both_its_uses(chunk_size):
    generator = torch.Generator().manual_seed(3)
    weight_VD = torch.randn(6, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    tokens_N, targets_N = torch.tensor([0, 1, 5, 1]), torch.tensor([2, 5, 1, 1])

    def gradient(function):
        logprobs_N, entropy_N = function(torch.tanh(weight_VD[tokens_N]), weight_VD, targets_N)
        return torch.autograd.grad(logprobs_N.sum() - 0.3 * entropy_N.square().sum(), weight_VD)[0]

    torch.testing.assert_close(
        gradient(lambda *args: linear_token_logprobs(*args, 0.8, chunk_size)),
        gradient(lambda *args: plain(*args, 0.8)),
        rtol=0,
        atol=1e-9,
    )


def test_no_tokens_contribute_exactly_zero():
    hidden_ND, weight_VD, targets_N, _ = inputs((0, 3, 5), 0)
    logprobs_N, entropy_N = linear_token_logprobs(hidden_ND, weight_VD, targets_N)
    (logprobs_N.sum() + entropy_N.sum()).backward()
    assert hidden_ND.grad.shape == (0, 3)
    assert weight_VD.grad.count_nonzero() == 0


def test_a_frozen_weight_gets_no_gradient_and_the_hidden_states_still_do():
    hidden_ND, weight_VD, targets_N, _ = inputs((4, 3, 5), 0)
    expected = torch.autograd.grad(linear_token_logprobs(hidden_ND, weight_VD, targets_N)[0].sum(), hidden_ND)[0]
    linear_token_logprobs(hidden_ND, weight_VD.detach(), targets_N)[0].sum().backward()
    assert weight_VD.grad is None
    assert torch.equal(hidden_ND.grad, expected)


def test_backward_twice_over_a_kept_graph_gives_the_same_gradient():
    hidden_ND, weight_VD, targets_N, _ = inputs((4, 3, 5), 0)
    logprobs_N, entropy_N = linear_token_logprobs(hidden_ND, weight_VD, targets_N, 0.7)
    total = logprobs_N.sum() + entropy_N.sum()
    first = torch.autograd.grad(total, (hidden_ND, weight_VD), retain_graph=True)
    second = torch.autograd.grad(total, (hidden_ND, weight_VD))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_the_automatic_chunk_holds_at_most_its_budget(monkeypatch):
    monkeypatch.setitem(projection_module.CHUNK_ELEMENTS, "cpu", 10)
    spans = projection_module.chunks(torch.zeros(7, 1), 4, None)
    assert [span.stop - span.start for span in spans] == [2, 2, 2, 1]
    assert len(projection_module.chunks(torch.zeros(3, 1), 1000, None)) == 3
    assert projection_module.chunks(torch.zeros(0, 1), 4, None) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_VD": torch.zeros(5, 4)}, "hidden has shape"),
        ({"weight_VD": torch.zeros(0, 3)}, "weight has shape"),
        ({"weight_VD": torch.zeros(5, 3, dtype=torch.float64)}, "hidden is torch.float32 but weight is torch.float64"),
        ({"targets_N": torch.zeros(3, dtype=torch.int64)}, "targets are"),
        ({"targets_N": torch.zeros(2)}, "targets are torch.float32"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(change, message):
    good = {"hidden_ND": torch.zeros(2, 3), "weight_VD": torch.zeros(5, 3), "targets_N": torch.tensor([0, 4])}
    linear_token_logprobs(**good)
    with pytest.raises(ValueError, match=message):
        linear_token_logprobs(**(good | change))
