"""Eq. 6: the weight of distillation follows from what the strategy is worth to the current model."""

import itertools
import math

import pytest
import torch

from sgpo.objectives import adaptive_weight, group_advantage_weight

RATES = [0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0]


def by_hand(auto, guide, alpha0=0.5, gamma=0.1, alpha_max=0.8):
    if guide == 0.0:
        return 0.0
    return min(max(alpha0 * (guide - auto + gamma) / (auto + gamma), 0.0), alpha_max)


@pytest.mark.parametrize("constants", [(), (0.5, 0.1, 0.8), (0.2, 0.5, 0.3), (1.0, 0.01, 5.0), (0.5, 0.1, 0.0)])
def test_the_whole_grid_of_pass_rates_for_floats_and_tensors(constants):
    pairs = list(itertools.product(RATES, RATES))
    expected = [by_hand(auto, guide, *constants) for auto, guide in pairs]
    floats = [adaptive_weight(auto, guide, *constants) for auto, guide in pairs]
    assert floats == pytest.approx(expected, abs=1e-12)
    assert all(type(alpha) is float for alpha in floats)
    auto_P, guide_P = torch.tensor(pairs, dtype=torch.float64).T
    assert adaptive_weight(auto_P, guide_P, *constants).tolist() == pytest.approx(expected, abs=1e-12)


def test_alpha_is_zero_when_no_guided_rollout_is_correct():
    assert adaptive_weight(0.0, 0.0) == 0.0
    assert adaptive_weight(torch.zeros(2), torch.tensor([0.0, 0.25])).tolist() == pytest.approx([0.0, 0.8])


def test_alpha_is_capped_when_the_strategy_is_everything():
    assert adaptive_weight(0.0, 1.0) == 0.8


def test_alpha_nearly_vanishes_when_the_model_already_solves_the_problem():
    assert adaptive_weight(1.0, 1.0) == pytest.approx(0.5 * 0.1 / 1.1)


def test_alpha_is_zero_when_the_strategy_hurts():
    assert adaptive_weight(1.0, 0.5) == 0.0


def test_alpha_equals_alpha0_times_gamma_share_when_the_strategy_changes_nothing():
    assert adaptive_weight(0.5, 0.5) == pytest.approx(0.5 * 0.1 / 0.6)


def test_alpha_falls_as_autonomous_skill_grows_and_rises_with_guided_skill():
    for guide in RATES:
        alphas = [adaptive_weight(auto, guide) for auto in RATES]
        assert alphas == sorted(alphas, reverse=True)
    for auto in RATES:
        alphas = [adaptive_weight(auto, guide) for guide in RATES]
        assert alphas == sorted(alphas)


def test_no_gradient_passes_through_alpha():
    auto_P = torch.tensor([0.25], requires_grad=True)
    guide_P = torch.tensor([0.3], requires_grad=True)
    assert not adaptive_weight(auto_P, guide_P).requires_grad


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((-0.1, 0.5), "autonomous pass rate is -0.1"),
        ((0.5, 1.1), "guided pass rate is 1.1"),
        ((math.nan, 0.5), "autonomous pass rate is nan"),
        ((0.5, 0.5, 0.5, 0.0), "gamma 0.0"),
        ((0.5, 0.5, -1.0), "alpha0 -1.0"),
        ((0.5, 0.5, 0.5, 0.1, -0.1), "alpha_max -0.1"),
        ((torch.zeros(2), torch.zeros(3)), "pass rates have shapes"),
    ],
)
def test_rates_and_constants_out_of_range_are_refused(args, message):
    with pytest.raises(ValueError, match=message):
        adaptive_weight(*args)


@pytest.mark.parametrize("passed", range(9))
def test_group_advantage_weight_is_the_targets_advantage_among_the_autonomous_group(passed):
    rewards = [1.0] * passed + [0.0] * (8 - passed)
    whole = torch.tensor([*rewards, 1.0], dtype=torch.float64)
    expected = (1.0 - whole.mean()) / (whole.std() + 1e-6)
    weight = group_advantage_weight(torch.tensor(rewards), 1.0, alpha_max=100.0)
    assert weight == pytest.approx(expected.item(), abs=1e-9)
    assert group_advantage_weight(torch.tensor(rewards)) == pytest.approx(min(expected.item(), 0.8), abs=1e-9)


def test_group_advantage_weight_is_never_negative():
    assert group_advantage_weight(torch.ones(4), target_reward=0.0) == 0.0


def test_group_advantage_weight_of_no_rollouts_is_zero_and_of_rewards_that_are_not_finite_refused():
    assert group_advantage_weight(torch.zeros(0)) == 0.0
    with pytest.raises(ValueError, match="not all finite"):
        group_advantage_weight(torch.tensor([0.0, math.nan]))


def test_group_advantage_weight_refuses_a_negative_cap():
    with pytest.raises(ValueError, match="alpha_max is"):
        group_advantage_weight(torch.ones(2), alpha_max=-1.0)
