"""What a probe says of tiers and problems, against the formulas written out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sgpo.config.pipeline import ProbeConfig
from sgpo.pipeline.probe import lift_of_problems, lift_of_tiers
from sgpo.pipeline.splits import ProbedProblem
from sgpo.problems import Problem, write_problems
from sgpo.problems.table import write_table

SETTINGS = ProbeConfig(autonomous_rollouts=4, guided_rollouts=8)
RATES = [("a", 0.25, 0.75, 1), ("b", 0.0, 0.5, 1), ("c", 1.0, 1.0, 2), ("d", 0.5, 0.25, None), ("e", 0.75, 1.0, 2)]
Z = 1.959963984540054


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "problems").mkdir()
    problems = [
        Problem(id=name, question=f"{name}?", answer="1", difficulty=tier, source="exam") for name, _, _, tier in RATES
    ]
    write_problems(problems, tmp_path / "problems" / "train.parquet")
    rows = [ProbedProblem(problem_id=name, autonomous=a, guided=g, lift=g - a) for name, a, g, _ in RATES]
    write_table(rows, tmp_path / "probe.parquet")
    return tmp_path


def wilson(rate: float, n: int) -> tuple[float, float]:
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half


def test_every_tier_has_the_means_of_its_problems_and_all_comes_last(data: Path) -> None:
    rows = lift_of_tiers(data, SETTINGS)
    assert [(row.name, row.problems) for row in rows] == [("exam", 1), ("tier 1", 2), ("tier 2", 2), ("all", 5)]
    tier_1, everything = rows[1], rows[-1]
    assert (tier_1.autonomous.value, tier_1.guided.value, tier_1.lift.value) == (0.125, 0.625, 0.5)
    assert everything.lift.value == pytest.approx(float(np.mean([g - a for _, a, g, _ in RATES])))
    for row in rows:
        for estimate in (row.autonomous, row.guided, row.lift):
            assert estimate.low <= estimate.value <= estimate.high


def test_a_lift_is_judged_by_pairs_not_by_the_two_rates(data: Path) -> None:
    """Where every strategy adds the same, the lift is surer than the rates, which differ between problems."""
    names = [f"p{number}" for number in range(20)]
    problems = [Problem(id=name, question=name, answer="1", difficulty=1) for name in names]
    write_problems(problems, data / "problems" / "train.parquet")
    rates = [0.0, 0.25, 0.5, 0.75] * 5
    write_table(
        [ProbedProblem(problem_id=name, autonomous=a, guided=a + 0.25, lift=0.25)
         for name, a in zip(names, rates, strict=True)], data / "probe.parquet",
    )  # fmt: skip
    tier = lift_of_tiers(data, SETTINGS)[0]
    assert tier.lift.method == "exact"
    assert tier.autonomous.method == "bootstrap"
    assert tier.lift.value == 0.25


def test_a_problems_intervals_are_wilsons_and_newcombes(data: Path) -> None:
    rows = {row.name: row for row in lift_of_problems(data, SETTINGS)}
    for name, autonomous, guided, _ in RATES:
        low_a, high_a = wilson(autonomous, 4)
        low_g, high_g = wilson(guided, 8)
        row = rows[name]
        assert (row.autonomous.low, row.autonomous.high) == pytest.approx((max(low_a, 0), min(high_a, 1)), abs=1e-9)
        assert (row.guided.low, row.guided.high) == pytest.approx((max(low_g, 0), min(high_g, 1)), abs=1e-9)
        lift = guided - autonomous
        assert row.lift.low == pytest.approx(lift - math.hypot(guided - low_g, high_a - autonomous), abs=1e-9)
        assert row.lift.high == pytest.approx(lift + math.hypot(high_g - guided, autonomous - low_a), abs=1e-9)
        assert -1 <= row.lift.low <= row.lift.high <= 1


def test_problems_are_ordered_by_their_lift(data: Path) -> None:
    assert [row.name for row in lift_of_problems(data, SETTINGS)] == ["a", "b", "e", "c", "d"]
