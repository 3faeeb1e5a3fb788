"""The metrics of an evaluation: each benchmark by its own k, strict and lenient."""

from __future__ import annotations

import pytest

from flows.phases import evaluation_metrics
from sgpo.evaluation import Comparison, Outcome, compare

OLD = [Outcome("a", "amc23", (1.0, 0.0, 0.0, 0.0)), Outcome("b", "math500", (1.0, 0.0))]
CHAMPION = [
    Outcome("a", "amc23", (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)),
    Outcome("b", "math500", (1.0, 0.0), (1.0, 0.0)),
]
CHALLENGER = [
    Outcome("a", "amc23", (1.0, 1.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0)),
    Outcome("b", "math500", (0.0, 0.0), (1.0, 0.0)),
]


def compared(champion: list[Outcome]) -> Comparison:
    return compare(champion, CHALLENGER, confidence=0.95, resamples=200, seed=0)


def test_every_benchmark_has_its_k_and_averages_are_the_papers_plain_mean() -> None:
    assert evaluation_metrics(compared(CHAMPION)) == pytest.approx(
        {
            "eval/amc23/avg_at_4": 0.75, "eval/math500/avg_at_2": 0.0, "eval/average": 0.375,
            "eval/average_over_problems": 0.375, "eval/gain": 0.0,
            "eval/amc23/lenient_at_4": 1.0, "eval/math500/lenient_at_2": 0.5, "eval/average_lenient": 0.75,
            "eval/gain_lenient": 0.25,
        }
    )  # fmt: skip


def test_without_lenient_rewards_of_both_models_the_strict_ones_are_logged_alone() -> None:
    metrics = evaluation_metrics(compared(OLD))
    assert metrics.keys() == {name for name in evaluation_metrics(compared(CHAMPION)) if "lenient" not in name}


def test_a_comparison_of_an_older_version_is_logged_under_its_one_k() -> None:
    tree = compare(OLD[:1], OLD[:1], 0.95, 200, 0).model_dump(mode="json")
    for gain in (tree["overall"], *tree["tiers"].values()):
        del gain["k"], gain["lenient"]
    assert "eval/amc23/avg_at_4" in evaluation_metrics(Comparison.model_validate(tree))
