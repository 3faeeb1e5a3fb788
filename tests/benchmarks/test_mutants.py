"""benchmarks/mutate_method.py: its changes are of this code, and a copy with one of them fails a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from mutate_method import TESTS, Mutant, run_tests  # noqa: E402

pytestmark = pytest.mark.slow
MUTANTS = [Mutant(**row) for row in yaml.safe_load((REPOSITORY / "benchmarks" / "mutants.yaml").read_text("utf-8"))]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.what}")
def test_a_change_is_one(mutant: Mutant) -> None:
    assert mutant.old != mutant.new
    assert mutant.old in (REPOSITORY / "sgpo" / mutant.file).read_text("utf-8")
    assert mutant.file.split("/")[0] in TESTS


def test_a_copy_runs_its_tests_and_one_notices() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.file.startswith("algorithms/sgpo"))
    noticed, _ = run_tests("algorithms", mutant)
    assert noticed is not None
    assert noticed.startswith("training/test_step.py::")
