"""Benchmarks with k of their own in one table, strict and lenient: scores, comparison, decision and metric names."""

from __future__ import annotations

from statistics import fmean

import pytest

from sgpo.config import ConfigError, EvaluationConfig, GateConfig, load_config
from sgpo.evaluation import Comparison, EvaluationError, Outcome, compare, score
from sgpo.evaluation.measure import batches_of
from sgpo.evaluation.report import NO_LENIENT, describe_comparison, describe_scores
from sgpo.problems import Problem
from sgpo.registry import decide

CHAMPION = [
    Outcome("a", "amc23", (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)),
    Outcome("b", "amc23", (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    Outcome("c", "math500", (0.0, 0.0), (1.0, 0.0)),
    Outcome("d", "math500", (1.0, 0.0), (1.0, 0.0)),
    Outcome("e", "math500", (1.0, 1.0), (1.0, 1.0)),
]
CHALLENGER = [
    Outcome("a", "amc23", (1.0, 1.0, 0.0, 1.0), (1.0, 1.0, 0.0, 1.0)),
    Outcome("b", "amc23", (0.0, 1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)),
    Outcome("c", "math500", (1.0, 0.0), (1.0, 0.0)),
    Outcome("d", "math500", (1.0, 1.0), (1.0, 1.0)),
    Outcome("e", "math500", (1.0, 0.0), (1.0, 0.0)),
]


def compared() -> Comparison:
    return compare(CHAMPION, CHALLENGER, confidence=0.95, resamples=200, seed=0)


def by_hand(rows: list[Outcome], lenient: bool = False) -> tuple[dict[str, float], float, float]:
    """avg@k of each benchmark, their plain mean, and the mean over problems, by plain sums."""
    of_problem = {row.problem_id: fmean((row.lenient if lenient else row.rewards) or ()) for row in rows}
    tiers = {
        name: fmean([of_problem[row.problem_id] for row in rows if row.tier == name]) for name in ("amc23", "math500")
    }
    return tiers, fmean(tiers.values()), fmean(of_problem.values())


def test_scores_of_benchmarks_with_k_of_their_own_are_the_plain_means() -> None:
    result = score(CHALLENGER, confidence=0.95, resamples=200, seed=0)
    tiers, macro, overall = by_hand(CHALLENGER)
    lenient_tiers, lenient_macro, lenient_overall = by_hand(CHALLENGER, lenient=True)
    assert {name: tier.avg_at_k.value for name, tier in result.tiers.items()} == pytest.approx(tiers)
    assert (result.macro.avg_at_k.value, result.overall.avg_at_k.value) == pytest.approx((macro, overall))
    assert {name: tier.lenient.value for name, tier in result.tiers.items() if tier.lenient} == pytest.approx(
        lenient_tiers
    )
    assert result.macro.lenient is not None
    assert result.overall.lenient is not None
    assert (result.macro.lenient.value, result.overall.lenient.value) == pytest.approx((lenient_macro, lenient_overall))
    assert (result.k, result.tiers["amc23"].k, result.tiers["math500"].k) == (None, 4, 2)
    assert list(result.tiers["amc23"].pass_at) == [1, 2, 4]
    assert list(result.overall.pass_at) == list(result.macro.pass_at) == [1, 2]  # what all problems have


@pytest.mark.parametrize("lenient", [False, True])
def test_the_comparison_has_both_accuracies_by_benchmark_and_the_papers_mean(lenient: bool) -> None:
    result = compared()
    mean = result.mean_of_tiers.lenient if lenient else result.mean_of_tiers
    gains = {name: gain.lenient if lenient else gain for name, gain in result.tiers.items()}
    for who, rows in (("champion", CHAMPION), ("challenger", CHALLENGER)):
        tiers, macro, _ = by_hand(rows, lenient)
        assert {name: getattr(gain, who) for name, gain in gains.items()} == pytest.approx(tiers)
        assert getattr(mean, who) == pytest.approx(macro)
    assert mean is not None
    assert mean.difference.value == pytest.approx(mean.challenger - mean.champion)
    assert Comparison.model_validate_json(result.model_dump_json()) == result


def test_the_tables_show_each_benchmarks_k_and_both_accuracies() -> None:
    scores = describe_scores(score(CHALLENGER, confidence=0.95, resamples=200, seed=0))
    row = next(line.split() for line in scores.splitlines() if line.startswith("amc23 @4"))
    assert (row[2], row[3], row[-2:]) == ("2", "50.0", ["50.0", "100.0"])
    table = describe_comparison(compared())
    row = next(line.split() for line in table.splitlines() if line.startswith("math500 @2"))
    assert row[3:6] == ["50.0", "66.7", "+16.7"]
    assert row[-3:] == ["66.7", "66.7", "+0.0"]
    assert NO_LENIENT not in scores + table


def test_the_decision_is_by_the_strict_rewards_and_names_every_k() -> None:
    decision = decide(compared(), GateConfig())
    assert "avg@k (k: amc23 4, math500 2) changes by +25.0 points" in decision.reasons[0]
    swapped = [Outcome(row.problem_id, row.tier, row.rewards, (0.0,) * len(row.rewards)) for row in CHALLENGER]
    assert decide(compare(CHAMPION, swapped, 0.95, 200, 0), GateConfig()) == decision


def test_outcomes_without_lenient_rewards_give_what_is_there_and_a_line() -> None:
    old = [Outcome(row.problem_id, row.tier, row.rewards) for row in CHAMPION]
    result = compare(old, CHALLENGER, 0.95, 200, 0)
    assert result.overall.difference == compared().overall.difference
    assert result.overall.lenient is None
    assert describe_comparison(result).splitlines()[-1] == NO_LENIENT
    assert describe_scores(score(old, 0.95, 200, 0)).splitlines()[-1] == NO_LENIENT


def test_a_comparison_of_an_older_version_keeps_its_one_k() -> None:
    same_k = [row for row in CHAMPION if row.tier == "math500"]
    tree = compare(same_k, same_k, 0.95, 200, 0).model_dump(mode="json")
    for gain in (tree["overall"], *tree["tiers"].values()):
        del gain["k"], gain["lenient"]
    old = Comparison.model_validate(tree)
    assert (old.k_of("math500"), old.name_of_average) == (2, "avg@2")


def test_lenient_rewards_of_another_number_are_refused_by_row() -> None:
    with pytest.raises(EvaluationError, match=r"row 1: problem 'a' has 1 lenient rewards \(expected 2, as many"):
        score([Outcome("a", "t", (1.0, 0.0), (1.0,))], 0.95, 200, 0)


def problem(name: str, source: str | None) -> Problem:
    return Problem(id=name, question="q", answer="1", source=source)


def test_problems_are_asked_together_where_their_settings_are_alike() -> None:
    settings = EvaluationConfig.model_validate(
        {"k": 4, "benchmarks": {"x": {"k": 32}, "y": {"k": 32}, "z": {"k": 4}, "w": {"max_new_tokens": 5}}}
    )
    asked = [problem(str(place), source) for place, source in enumerate(("x", None, "y", "z", "w", "x"))]
    batches = batches_of(asked, settings)
    assert [(batch.k, [one.id for one in batch.problems]) for batch in batches] == [
        (32, ["0", "2", "5"]), (4, ["1", "3"]), (4, ["4"]),
    ]  # fmt: skip
    assert batches[2].setting == "evaluation.benchmarks.w.max_new_tokens"
    assert batches[0].setting == "evaluation.sampling.max_new_tokens"


def test_a_wrong_setting_of_a_benchmark_is_named_with_its_key() -> None:
    assert load_config(None, ["evaluation.benchmarks.amc23.k=32"]).evaluation.k_of("amc23") == 32
    with pytest.raises(
        ConfigError, match=r"unknown key 'evaluation.benchmarks.amc23.kk' \(expected one of: k, max_new"
    ):
        load_config(None, ["evaluation.benchmarks.amc23.kk=32"])
    with pytest.raises(ConfigError, match=r"'evaluation\.benchmarks\.amc23\.k' is 0"):
        load_config(None, ["evaluation.benchmarks.amc23.k=0"])
