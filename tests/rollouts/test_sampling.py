"""Draws follow the nucleus's distribution, and each depends on its own seed and position alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.sampling import sample_tokens, uniforms

DRAWS = 40_000
MASK = 2**64 - 1


def nucleus(logits_V: list[float], temperature: float, top_p: float) -> np.ndarray:
    """The distribution that is to be sampled, by a plain loop in float64."""
    scaled = np.array(logits_V, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    probabilities = weights / weights.sum()
    kept, mass = np.zeros_like(probabilities), 0.0
    for token in np.argsort(-probabilities, kind="stable"):
        if mass >= top_p:
            break
        kept[token] = probabilities[token]
        mass += probabilities[token]
    return kept / kept.sum()


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_many_seeds_draw_the_nucleus_distribution(temperature: float, top_p: float) -> None:
    logits_V = torch.randn(40, generator=torch.Generator().manual_seed(3))
    draws_B = uniforms(torch.arange(DRAWS), position=11)
    token_B, _ = sample_tokens(logits_V.expand(DRAWS, -1), temperature, top_p, draws_B)
    expected = nucleus(logits_V.tolist(), temperature, top_p)
    counts = np.bincount(token_B.numpy(), minlength=40)
    assert counts[expected == 0].sum() == 0
    frequent = expected * DRAWS >= 5
    observed = np.append(counts[frequent], counts[~frequent].sum())
    predicted = np.append(expected[frequent], expected[~frequent].sum()) * DRAWS
    assert stats.chisquare(observed[predicted > 0], predicted[predicted > 0]).pvalue > 1e-3


def test_the_logprob_is_of_the_full_softmax_at_the_temperature_and_not_of_the_nucleus() -> None:
    logits_BV = torch.randn(64, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    token_B, logprob_B = sample_tokens(logits_BV, 0.7, 0.5, uniforms(torch.arange(64), 0))
    expected_BV = (logits_BV / 0.7).log_softmax(-1)
    torch.testing.assert_close(logprob_B, expected_BV.gather(1, token_B[:, None]).squeeze(1))


def test_temperature_zero_takes_the_most_probable_token_at_temperature_one() -> None:
    logits_BV = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    token_B, logprob_B = sample_tokens(logits_BV, 0.0, 0.5, torch.tensor([0.99, 0.99], dtype=torch.float64))
    assert token_B.tolist() == [1, 0]
    torch.testing.assert_close(logprob_B, logits_BV.log_softmax(-1)[torch.arange(2), token_B])


@given(
    rows=st.lists(st.lists(st.floats(-30, 30), min_size=6, max_size=6), min_size=1, max_size=5),
    top_p=st.floats(0.01, 1.0),
    temperature=st.floats(0.2, 5.0),
    seed=st.integers(0, 2**63 - 1),
)
@settings(max_examples=150, deadline=None)
def test_a_row_draws_the_same_token_alone_and_always_from_the_nucleus(
    rows: list[list[float]], top_p: float, temperature: float, seed: int
) -> None:
    logits_BV = torch.tensor(rows, dtype=torch.float64)
    draws_B = uniforms(torch.full((len(rows),), seed), 4)
    token_B, _ = sample_tokens(logits_BV, temperature, top_p, draws_B)
    for index, row in enumerate(rows):
        alone, _ = sample_tokens(logits_BV[index : index + 1], temperature, top_p, draws_B[index : index + 1])
        assert alone.item() == token_B[index].item()
        # A little more mass: where it lands on top_p exactly, rounding decides.
        assert nucleus(row, temperature, min(1.0, top_p + 1e-9))[int(alone)] > 0


def test_tokens_of_equal_probability_are_drawn_in_the_order_of_the_vocabulary() -> None:
    draws_B = torch.tensor([0.0, 0.3, 0.5, 0.999], dtype=torch.float64)
    token_B, _ = sample_tokens(torch.zeros(4, 8), 1.0, 0.5, draws_B)
    assert token_B.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("top_p", [0.3, 0.95, 1.0])
def test_extreme_draws_never_leave_the_nucleus(top_p: float) -> None:
    logits_BV = torch.tensor([[-1e4, 0.0, 1.0, -1e4], [-1e4, -1e4, 5.0, -1e4]])
    for draw in (0.0, 1.0 - 2.0**-53):
        token_B, logprob_B = sample_tokens(logits_BV, 1.0, top_p, torch.full((2,), draw, dtype=torch.float64))
        assert token_B[0].item() in (1, 2)
        assert token_B[1].item() == 2
        assert torch.isfinite(logprob_B).all()


def plain_draw(logits_V: torch.Tensor, top_p: float, draw: float) -> int:
    """The token that the inverse CDF gives, over the nucleus or in the order of the vocabulary, by plain sums."""
    weights = np.exp(logits_V.numpy() - logits_V.max().item())
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable") if top_p < 1.0 else np.arange(len(probabilities))
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = np.where(before < top_p, probabilities[order], 0.0)
    cumulative = np.cumsum(kept)
    return int(order[np.searchsorted(cumulative, draw * cumulative[-1], side="right")])


@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("scale", [5.0, 2.0, 0.3], ids=["words of tens", "of thousands", "of nearly all"])
@pytest.mark.parametrize("step", [None, 0.25], ids=["all different", "many equal"])
def test_draws_of_large_vocabularies_are_those_of_the_definition(scale: float, step: float | None, top_p: float):
    logits_BV = scale * torch.randn(48, 9_001, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    logits_BV = logits_BV if step is None else (logits_BV / step).round() * step
    draws_B = uniforms(torch.arange(48), 2)
    token_B, logprob_B = sample_tokens(logits_BV, 1.0, top_p, draws_B)
    expected = [plain_draw(row, top_p, draw) for row, draw in zip(logits_BV, draws_B.tolist(), strict=True)]
    assert token_B.tolist() == expected
    torch.testing.assert_close(logprob_B, logits_BV.log_softmax(-1)[torch.arange(48), token_B])


def test_a_flat_row_beside_a_sharp_one_changes_nothing_for_it() -> None:
    logits_BV = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(2)) * torch.tensor([[6.0], [0.1]])
    draws_B = uniforms(torch.arange(2), 0)
    together, logprobs = sample_tokens(logits_BV, 1.0, 0.9, draws_B)
    for row in range(2):
        alone, logprob = sample_tokens(logits_BV[row : row + 1], 1.0, 0.9, draws_B[row : row + 1])
        assert alone.item() == together[row].item()
        torch.testing.assert_close(logprob[0], logprobs[row])


def test_logprobs_of_float32_logits_over_a_large_vocabulary_have_six_digits() -> None:
    logits_BV = 4.0 * torch.randn(32, 60_000, generator=torch.Generator().manual_seed(7))
    token_B, logprob_B = sample_tokens(logits_BV, 1.0, 1.0, uniforms(torch.arange(32), 1))
    exact_B = logits_BV.double().log_softmax(-1)[torch.arange(32), token_B]
    torch.testing.assert_close(logprob_B.double(), exact_B, atol=3e-6, rtol=0)


@pytest.mark.parametrize("vocabulary", [4_097, 4_224, 10_000])
def test_extreme_draws_over_a_large_vocabulary_stay_among_words_with_weight(vocabulary: int) -> None:
    logits_BV = torch.full((2, vocabulary), float("-inf"))
    logits_BV[:, 4_000:4_090] = 0.0
    extremes_B = torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)
    for top_p in (0.9999, 1.0):
        token_B, _ = sample_tokens(logits_BV, 1.0, top_p, extremes_B)
        assert token_B.tolist() == [4_000, 4_089]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("vocabulary", [40, 5000])
def test_logits_that_are_not_finite_are_refused_with_the_number_of_their_rollouts(
    value: float, top_p: float, temperature: float, vocabulary: int
) -> None:
    logits_BV = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(0))
    logits_BV[1, 7] = value
    with pytest.raises(EngineError, match=r"not finite for 1 of 3 rollouts \(expected finite weights\)$"):
        sample_tokens(logits_BV, temperature, top_p, uniforms(torch.arange(3), 0))


def test_a_token_of_no_probability_at_all_is_no_error() -> None:
    logits_BV = torch.tensor([[0.0, float("-inf"), 0.0]]).expand(64, -1)
    token_B, logprob_B = sample_tokens(logits_BV, 1.0, 1.0, uniforms(torch.arange(64), 0))
    assert set(token_B.tolist()) == {0, 2}
    torch.testing.assert_close(logprob_B.exp(), torch.full((64,), 0.5))


def test_the_hash_is_splitmix64() -> None:
    def reference(seed: int, position: int) -> float:
        z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) >> 11) / 2**53

    seeds = [0, 1, 2**62 + 12345, 2**63 - 1]
    for position in (0, 1, 77, 16_384, 131_071):
        assert uniforms(torch.tensor(seeds), position).tolist() == [reference(seed, position) for seed in seeds]
    # The first output of the published generator seeded with 1234567.
    assert reference(1234567, 0) == (6457827717110365317 >> 11) / 2**53


def test_uniforms_are_uniform_and_independent_between_neighbouring_seeds_and_positions() -> None:
    grid = torch.stack([uniforms(torch.arange(2000), position) for position in range(50)]).numpy()
    assert grid.min() >= 0.0
    assert grid.max() < 1.0
    assert stats.kstest(grid.ravel(), "uniform").pvalue > 1e-3
    for left, right in ((grid[:-1], grid[1:]), (grid[:, :-1], grid[:, 1:])):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.015


def test_the_random_numbers_never_change_between_versions() -> None:
    draws = uniforms(torch.arange(256), 3).numpy().astype("<f8").tobytes()
    assert hashlib.sha256(draws).hexdigest() == "181589417fd0511541b7a1fabd4684264fd12c6897da6c891aa1776d26adebf7"
