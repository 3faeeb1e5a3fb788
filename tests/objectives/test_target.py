"""Eq. 4: the reachable target."""

import math
from collections import Counter

import pytest
import torch

from sgpo.objectives import select_target, target_weights

SUMS, LENGTHS = torch.tensor([-30.0, -12.0, -10.0]), torch.tensor([60, 40, 10])


def test_the_most_probable_whole_trajectory_is_taken_by_default():
    assert select_target(SUMS, LENGTHS) == select_target(SUMS, LENGTHS, "sum") == 2


def test_the_mean_prefers_a_long_trajectory_of_probable_tokens():
    assert select_target(SUMS, LENGTHS, "mean") == 1


def test_a_single_candidate_is_taken_in_every_way():
    for how in ("sum", "mean", "random"):
        assert select_target(SUMS[:1], LENGTHS[:1], how, torch.Generator()) == 0


def test_of_equals_the_first_is_taken():
    assert select_target(torch.tensor([-3.0, -2.0, -2.0]), torch.tensor([1, 1, 1])) == 1


def test_a_random_choice_is_uniform_and_a_function_of_the_generator():
    generator = torch.Generator().manual_seed(5)
    drawn = [select_target(SUMS, LENGTHS, "random", generator) for _ in range(600)]
    assert all(150 < count < 250 for count in Counter(drawn).values())
    assert set(drawn) == {0, 1, 2}
    generator.manual_seed(5)
    assert [select_target(SUMS, LENGTHS, "random", generator) for _ in range(20)] == drawn[:20]


@pytest.mark.parametrize(
    ("sums", "lengths", "how", "message"),
    [
        (torch.zeros(0), torch.zeros(0), "sum", "at least 1 correct guided trajectory"),
        (torch.zeros(2), torch.ones(3), "sum", r"shape \(2,\) and lengths \(3,\)"),
        (torch.tensor([0.0, math.nan]), torch.ones(2), "sum", "not all finite"),
        (torch.zeros(2), torch.tensor([1, 0]), "mean", "at least 1 token"),
        (torch.zeros(2), torch.ones(2), "median", "how is 'median'"),
        (torch.zeros(2), torch.ones(2), "random", "no generator"),
    ],
)
def test_candidates_that_cannot_be_compared_are_refused(sums, lengths, how, message):
    with pytest.raises(ValueError, match=message):
        select_target(sums, lengths, how)


def test_weights_are_one_for_the_chosen_target_and_even_for_all():
    sums, lengths = SUMS.tolist(), LENGTHS.tolist()
    assert target_weights(sums, lengths, "sum") == [0.0, 0.0, 1.0]
    assert target_weights(sums, lengths, "mean") == [0.0, 1.0, 0.0]
    assert target_weights(sums, lengths, "all") == pytest.approx([1 / 3] * 3)
    drawn = {tuple(target_weights(sums, lengths, "random", seed)) for seed in range(20)}
    assert len(drawn) == 3
    assert all(sorted(weights) == [0.0, 0.0, 1.0] for weights in drawn)
    assert target_weights(sums, lengths, "random", 3) == target_weights(sums, lengths, "random", 3)


def test_weights_of_no_candidate_are_refused():
    for how in ("sum", "all"):
        with pytest.raises(ValueError, match="at least 1 correct guided trajectory"):
            target_weights([], [], how)
