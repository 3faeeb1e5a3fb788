"""avg@k and pass@k, and whether their intervals mean what they say."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sgpo.evaluation import EvaluationError, Outcome, Scores, pass_at, score
from sgpo.evaluation.intervals import Estimate, mean_estimate, mean_of_estimates


def outcomes(rows: list[tuple[str, str, str]]) -> list[Outcome]:
    """("id", "tier", "0110") -> Outcome, one reward per character."""
    return [Outcome(name, tier, tuple(float(mark) for mark in marks)) for name, tier, marks in rows]


def scored(rows: list[Outcome]) -> Scores:
    return score(rows, confidence=0.95, resamples=200, seed=0)


@given(st.integers(1, 8), st.data())
@settings(max_examples=100, deadline=None)
def test_pass_at_j_is_the_share_of_j_subsets_that_hold_a_solved_response(k: int, data: st.DataObject) -> None:
    solved = data.draw(st.integers(0, k))
    j = data.draw(st.integers(1, k))
    responses = [True] * solved + [False] * (k - solved)
    subsets = list(itertools.combinations(responses, j))
    assert pass_at(solved, k, j) == pytest.approx(sum(any(subset) for subset in subsets) / len(subsets), abs=1e-12)


def test_pass_at_refuses_more_responses_than_were_drawn() -> None:
    with pytest.raises(ValueError, match="pass@5 of 1 solved in 4"):
        pass_at(1, 4, 5)


def test_scores_of_a_small_table_by_hand() -> None:
    table = outcomes([("a", "easy", "1111"), ("b", "easy", "1100"), ("c", "hard", "0000")])
    result = scored(table)
    assert result.k == 4
    assert list(result.tiers) == ["easy", "hard"]
    assert result.overall.avg_at_k.value == pytest.approx((1 + 0.5 + 0) / 3)
    assert result.tiers["easy"].avg_at_k.value == pytest.approx(0.75)
    assert result.macro.avg_at_k.value == pytest.approx((0.75 + 0.0) / 2)
    assert {j: estimate.value for j, estimate in result.overall.pass_at.items()} == pytest.approx(
        {1: 0.5, 2: (1 + 5 / 6 + 0) / 3, 4: 2 / 3}
    )
    assert result.macro.pass_at[4].value == pytest.approx(0.5)


def test_partial_rewards_count_in_the_average_but_do_not_solve_a_problem() -> None:
    result = scored([Outcome("a", "t", (0.5, 0.5)), Outcome("b", "t", (1.0, 0.0))])
    assert result.overall.avg_at_k.value == pytest.approx(0.5)
    assert result.overall.pass_at[2].value == pytest.approx(0.5)


def test_k_itself_is_among_the_pass_at_when_it_is_no_power_of_two() -> None:
    assert list(scored(outcomes([("a", "t", "010000"), ("b", "t", "111111")])).overall.pass_at) == [1, 2, 4, 6]


def test_scores_survive_json() -> None:
    result = scored(outcomes([("a", "x", "10"), ("b", "y", "00"), ("c", "y", "11")]))
    assert Scores.model_validate_json(result.model_dump_json()) == result


def test_the_same_seed_gives_the_same_intervals_and_the_order_of_rows_only_moves_them_a_little() -> None:
    table = outcomes([(str(i), "t", "1100" if i % 3 else "0000") for i in range(30)])
    assert scored(table) == scored(table)
    assert score(table, 0.95, 200, seed=1).overall.avg_at_k.low != scored(table).overall.avg_at_k.low
    forwards, backwards = scored(table).overall.avg_at_k, scored(table[::-1]).overall.avg_at_k
    assert forwards.value == pytest.approx(backwards.value)
    assert forwards.low == pytest.approx(backwards.low, abs=0.05)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "outcomes: no problems"),
        ([("a", "t", "10"), ("b", "t", "1")], r"row 2: problem 'b' has 1 rewards \(expected 2, as in row 1\)"),
        ([("a", "t", "")], "row 1: problem 'a' has 0 rewards"),
        ([("a", "t", "1"), ("a", "t", "0")], "row 2: problem 'a' is there twice"),
        ([("a", "t", "1"), ("b", "t", "5")], r"row 2: problem 'b' has the reward 5.0 \(expected 0 to 1\)"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_by_row(rows: list, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        scored(outcomes(rows))


def test_a_reward_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(EvaluationError, match="has the reward nan"):
        scored([Outcome("a", "t", (float("nan"),))])


@pytest.mark.parametrize("problems", [1, 10, 200])
def test_solving_everything_is_not_certainty_but_the_exact_bound_of_the_problems_seen(problems: int) -> None:
    estimate = mean_estimate([1.0] * problems, (0.0, 1.0), 0.95, 200, 0)
    exact = stats.binomtest(problems, problems).proportion_ci(0.95, method="exact")
    assert (estimate.method, estimate.value, estimate.high) == ("exact", 1.0, 1.0)
    assert estimate.low == pytest.approx(exact.low)


def test_the_same_fraction_on_every_problem_keeps_room_on_both_sides() -> None:
    estimate = mean_estimate([0.25] * 50, (0.0, 1.0), 0.95, 200, 0)
    assert estimate.method == "exact"
    assert 0.0 < estimate.low < 0.25 < estimate.high < 0.35
    assert estimate.high - 0.25 > 0.25 - estimate.low  # there is more room above a quarter than below it


def test_values_that_differ_only_by_rounding_are_the_same_value() -> None:
    quarters = [7 / 12 - 4 / 12, 8 / 12 - 5 / 12, 11 / 12 - 8 / 12, 1 / 4]
    assert len(set(quarters)) > 1
    assert mean_estimate(quarters, (-1.0, 1.0), 0.95, 200, 0).method == "exact"


def _coverage(confidence: float, problems: int, k: int, trials: int) -> float:
    """Share of simulated evaluations whose interval holds the true mean ability; abilities are Beta(1, 2), mean 1/3."""
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(trials):
        ability = rng.beta(1.0, 2.0, size=problems)
        averages = rng.binomial(k, ability) / k
        estimate = mean_estimate(averages, (0.0, 1.0), confidence, 400, trial)
        held += estimate.low <= 1 / 3 <= estimate.high
    return held / trials


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_hold_the_truth_about_as_often_as_they_say(confidence: float) -> None:
    # 400 trials: the standard error of the rate is 2 points at 80 % and 1.1 at 95 %.
    assert _coverage(confidence, problems=60, k=4, trials=400) == pytest.approx(confidence, abs=0.045)


def test_intervals_treating_every_sample_as_independent_would_hold_the_truth_too_rarely() -> None:
    """Why the problem is the unit: the k responses of a problem share its difficulty."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        solved = rng.binomial(16, rng.beta(0.5, 1.0, size=30))
        naive = stats.binomtest(int(solved.sum()), 30 * 16).proportion_ci(0.95, method="wilson")
        held += naive.low <= 1 / 3 <= naive.high
    assert held / 400 < 0.75


def test_the_mean_of_tiers_holds_the_truth_about_as_often_as_it_says_even_with_a_hopeless_tier() -> None:
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(300):
        tiers = [rng.binomial(4, rng.beta(2.0, 2.0, size=25)) / 4, rng.binomial(4, rng.beta(1.0, 3.0, size=40)) / 4]
        parts = [mean_estimate(values, (0.0, 1.0), 0.9, 300, trial) for values in tiers]
        parts.append(mean_estimate([0.0] * 400, (0.0, 1.0), 0.9, 300, trial))
        average = mean_of_estimates(parts)
        held += average.low <= (0.5 + 0.25 + 0.0) / 3 <= average.high
    assert held / 300 == pytest.approx(0.9, abs=0.05)


def test_the_mean_of_one_tier_is_that_tier() -> None:
    tier = Estimate(value=0.5, low=0.4, high=0.7, method="bootstrap")
    average = mean_of_estimates([tier])
    assert (average.value, average.low, average.high) == pytest.approx((0.5, 0.4, 0.7))


def test_measuring_needs_no_mlflow() -> None:
    code = "import sys, sgpo.evaluation, sgpo.tracking.tracker, sgpo.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
