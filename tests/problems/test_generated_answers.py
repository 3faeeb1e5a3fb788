"""Generated answers that are right in another spelling or wrong nearby: none is accepted wrongly, none rejected."""

import sys
from pathlib import Path

import pytest

from sgpo.problems import Verifier

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def pairs_script():
    """benchmarks/verifier_pairs.py, which makes the tables of docs/measured/verifier.md from 5,000 pairs."""
    sys.path.insert(0, BENCHMARKS)
    try:
        import verifier_pairs
    finally:
        sys.path.remove(BENCHMARKS)
    return verifier_pairs


@pytest.mark.slow
def test_generated_pairs_get_the_verdict_that_they_were_made_for(pairs_script) -> None:
    pairs = pairs_script.generated_pairs(616, seed=1)
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        judgements = pairs_script.judged(pairs, verifier)
    assert [
        (p.family, p.kind, p.problem.answer, p.answer, v.reason) for p, v in judgements if v.correct != p.right
    ] == []
    families = pairs_script.table(judgements, "family")
    assert len(families) == len(pairs_script.FAMILIES) + 1
    assert families[-1]["right"] > 250
    assert families[-1]["wrong"] > 250


def test_pairs_are_the_same_for_one_seed_and_others_for_another(pairs_script) -> None:
    first = pairs_script.generated_pairs(220, seed=3)
    assert first == pairs_script.generated_pairs(220, seed=3)
    assert first != pairs_script.generated_pairs(220, seed=4)
    assert len({(pair.problem.answer, pair.answer, pair.right) for pair in first}) == 220
