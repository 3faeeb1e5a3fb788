"""Two models on the same problems."""

import numpy as np
import pytest

from sgpo.evaluation import Comparison, EvaluationError, Outcome, compare, score
from sgpo.evaluation.report import describe_comparison


def table(rng: np.random.Generator, abilities: np.ndarray, k: int = 4) -> list[Outcome]:
    """Simulated outcomes; problem i has ability i of [problems] and tier i mod 2."""
    draws = rng.random((abilities.size, k)) < abilities[:, None]
    return [Outcome(f"p{i}", f"tier {i % 2}", tuple(row)) for i, row in enumerate(draws.astype(float).tolist())]


def compared(champion: list[Outcome], challenger: list[Outcome], confidence: float = 0.95) -> Comparison:
    return compare(champion, challenger, confidence=confidence, resamples=500, seed=0)


CHAMPION = [Outcome("a", "x", (1.0, 0.0)), Outcome("b", "x", (0.0, 0.0)), Outcome("c", "y", (1.0, 1.0))]
CHALLENGER = [Outcome("c", "y", (0.0, 1.0)), Outcome("a", "x", (1.0, 1.0)), Outcome("b", "x", (0.0, 1.0))]


def test_gains_of_a_small_table_by_hand_whatever_the_order_of_its_rows() -> None:
    result = compared(CHAMPION, CHALLENGER)
    assert result.k == 2
    assert result.overall.difference.value == pytest.approx(0.5 / 3)
    assert (result.overall.champion, result.overall.challenger) == pytest.approx((0.5, 2 / 3))
    assert (result.overall.better, result.overall.worse) == (2, 1)
    assert result.tiers["x"].difference.value == pytest.approx(0.5)
    assert result.tiers["y"].difference.value == pytest.approx(-0.5)
    assert result.macro.value == pytest.approx(0.0)
    assert Comparison.model_validate_json(result.model_dump_json()) == result


def test_the_mean_of_tiers_counts_each_tier_once_and_is_shown_where_there_are_several() -> None:
    result = compared(CHAMPION, CHALLENGER)
    mean = result.mean_of_tiers
    assert (mean.champion, mean.challenger) == pytest.approx(((0.25 + 1.0) / 2, (0.75 + 0.5) / 2))
    assert mean.difference == result.macro
    assert [name for name, _ in result.rows()] == ["x", "y", "mean of tiers", "all problems"]
    (line,) = (line for line in describe_comparison(result).splitlines() if line.startswith("mean of tiers"))
    assert line.split()[:7] == ["mean", "of", "tiers", "3", "62.5", "62.5", "+0.0"]
    one = compared(CHAMPION[:2], CHALLENGER[1:])
    assert [name for name, _ in one.rows()] == ["x", "all problems"]


def test_swapping_the_models_turns_the_gain_round() -> None:
    forwards, backwards = compared(CHAMPION, CHALLENGER), compared(CHALLENGER, CHAMPION)
    assert backwards.overall.difference.value == pytest.approx(-forwards.overall.difference.value)
    assert (backwards.overall.better, backwards.overall.worse) == (forwards.overall.worse, forwards.overall.better)


def test_a_model_against_itself_gains_nothing_and_is_not_significant() -> None:
    rng = np.random.default_rng(0)
    same = table(rng, rng.random(100))
    result = compared(same, same)
    assert result.overall.difference.value == 0.0
    assert result.overall.difference.method == "exact"
    assert -0.04 < result.overall.difference.low < 0.0 < result.overall.difference.high < 0.04
    assert result.p_value == 1.0


def test_pairing_finds_a_gain_that_two_separate_intervals_would_not_show() -> None:
    rng = np.random.default_rng(1)
    ability = np.where(rng.random(80) < 0.5, 0.02, 0.9)  # problems differ far more than the models do
    champion, challenger = table(rng, ability, k=16), table(rng, np.minimum(ability + 0.08, 1.0), k=16)
    paired = compared(champion, challenger)
    separate = [score(rows, 0.95, 500, 0).overall.avg_at_k for rows in (champion, challenger)]
    assert separate[0].high > separate[1].low
    assert paired.overall.difference.low > 0.0
    assert paired.p_value < 0.01


def test_the_interval_of_the_gain_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(200):
        ability = rng.beta(1.0, 2.0, size=60)
        champion, challenger = table(rng, ability), table(rng, 0.7 * ability + 0.3)  # true gain 0.3 (1 - 1/3) = 0.2
        difference = compare(champion, challenger, 0.9, 300, trial).overall.difference
        held += difference.low <= 0.2 <= difference.high
    assert held / 200 == pytest.approx(0.9, abs=0.055)


def test_equal_models_are_called_significant_about_as_rarely_as_the_level_says() -> None:
    rng = np.random.default_rng(6)
    called = 0
    for trial in range(200):
        ability = rng.beta(1.0, 1.0, size=40)
        called += compare(table(rng, ability), table(rng, ability), 0.9, 200, trial).p_value < 0.1
    assert called / 200 == pytest.approx(0.1, abs=0.055)


@pytest.mark.parametrize(
    ("challenger", "message"),
    [
        (CHALLENGER[1:], "champion row 3: problem 'c' is not among the challenger's"),
        ([*CHALLENGER, Outcome("d", "x", (0.0, 0.0))], "challenger row 4: problem 'd' is not among the champion's"),
        ([*CHALLENGER[1:], Outcome("c", "x", (1.0, 1.0))], "problem 'c' is in tier 'y' but in 'x' for the challenger"),
        ([Outcome(row.problem_id, row.tier, (1.0,)) for row in CHAMPION], "challenger 1 in tier 'x'"),
        ([CHALLENGER[0], CHALLENGER[0]], "challenger row 2: problem 'c' is there twice"),
    ],
)
def test_what_cannot_be_paired_is_refused_naming_the_first_difference(challenger: list, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        compared(CHAMPION, challenger)
