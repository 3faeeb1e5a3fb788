"""What results are broken down by, on the real benchmarks too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sgpo.problems import Problem, read_problems
from sgpo.problems.tiers import tiers_of

BENCHMARKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "benchmarks"


def problem(name: str, source: str | None, difficulty: int | None = None) -> Problem:
    return Problem(id=name, question=name, answer="1", source=source, difficulty=difficulty)


def test_one_data_set_is_broken_down_by_its_levels() -> None:
    problems = [problem("a", "math500", 1), problem("b", "math500", 5), problem("c", "math500")]
    assert tiers_of(problems) == {"a": "tier 1", "b": "tier 5", "c": "math500"}
    assert tiers_of([problem("a", None)]) == {"a": "other"}


def test_several_data_sets_are_a_tier_each_whatever_levels_one_of_them_has() -> None:
    problems = [problem("a", "math500", 1), problem("b", "math500", 5), problem("c", "aime24"), problem("d", None, 2)]
    assert tiers_of(problems) == {"a": "math500", "b": "math500", "c": "aime24", "d": "other"}


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason=f"{BENCHMARKS} is not there")
def test_the_papers_four_benchmarks_are_four_tiers() -> None:
    problems = [one for file in sorted(BENCHMARKS.glob("*.jsonl")) for one in read_problems(file)]
    assert Counter(tiers_of(problems).values()) == {"math500": 500, "amc23": 40, "olympiadbench": 675, "aime24": 30}
