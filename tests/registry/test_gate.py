"""The gate promotes what is better beyond chance and worse nowhere."""

import pytest

from sgpo.config import GateConfig
from sgpo.evaluation import Comparison, Estimate, Gain
from sgpo.registry import decide


def gain(difference: float, low: float, champion: float = 0.4, problems: int = 100) -> Gain:
    return Gain(
        problems=problems,
        champion=champion,
        challenger=champion + difference,
        difference=Estimate(value=difference, low=low, high=2 * difference - low, method="bootstrap"),
        better=1,
        worse=0,
    )


def comparison(overall: Gain, **tiers: Gain) -> Comparison:
    return Comparison(k=4, confidence=0.95, overall=overall, tiers=tiers, macro=overall.difference, p_value=0.01)


def test_a_clear_gain_with_no_tier_falling_is_promoted_and_the_reasons_hold_the_numbers() -> None:
    decision = decide(comparison(gain(0.12, 0.08), easy=gain(0.2, 0.1), hard=gain(-0.03, -0.2)), GateConfig())
    assert decision.promote
    assert decision.reasons == (
        "Overall the challenger's avg@4 changes by +12.0 points (95% interval +8.0 to +16.0) on 100 problems; "
        "the lower end is above the margin of +0.0.",
        "No tier falls by more than the tolerated 5.0 points (the least gain is -3.0, of tier 'hard').",
    )


def test_a_gain_that_may_be_chance_is_refused() -> None:
    decision = decide(comparison(gain(0.12, -0.01), all=gain(0.12, -0.01)), GateConfig())
    assert not decision.promote
    assert "the lower end is not above the margin" in decision.reasons[0]


def test_a_lower_bound_that_only_equals_the_margin_is_refused() -> None:
    """An unchanged model has a gain of exactly 0, which must not replace the champion under the default margin."""
    assert not decide(comparison(gain(0.0, 0.0), all=gain(0.0, 0.0)), GateConfig(margin=0.0)).promote


@pytest.mark.parametrize(("margin", "promoted"), [(0.05, True), (0.1, False), (-0.5, True)])
def test_the_margin_is_held_against_the_lower_bound(margin: float, promoted: bool) -> None:
    assert decide(comparison(gain(0.12, 0.08), all=gain(0.12, 0.08)), GateConfig(margin=margin)).promote is promoted


def test_one_tier_that_falls_beyond_the_tolerance_refuses_a_clear_overall_gain() -> None:
    decision = decide(
        comparison(gain(0.12, 0.08), easy=gain(-0.07, -0.1, champion=0.9), hard=gain(0.3, 0.2)), GateConfig()
    )
    assert not decision.promote
    assert decision.reasons[1:] == (
        "Tier 'easy' falls by 7.0 points (from 90.0 to 83.0), more than the tolerated 5.0.",
    )


def test_a_fall_that_equals_the_tolerance_is_tolerated_whatever_the_rounding() -> None:
    assert 0.95 - 0.9 > 0.05 or 0.3 - 0.25 > 0.04
    for champion, challenger in ((0.95, 0.9), (0.3, 0.25), (0.65, 0.6)):
        tier = gain(challenger - champion, -0.2, champion=champion)
        assert decide(comparison(gain(0.1, 0.05), tier=tier), GateConfig(tolerance=0.05)).promote
