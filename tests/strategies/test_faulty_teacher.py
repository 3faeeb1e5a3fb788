"""A small version of benchmarks/faulty_teacher.py: faults and kills change neither the files nor the bill."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import faulty_teacher

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.timeout(240)
def test_faults_and_kills_lose_nothing_and_bill_nothing_twice(tmp_path: Path) -> None:
    calm = faulty_teacher.extract(tmp_path / "calm", 25, 0.0, 0, True, 8)
    hit = faulty_teacher.extract(tmp_path / "hit", 25, 0.2, 2, True, 8)
    assert hit.kills == 2
    assert hit.digests() == calm.digests()
    calm_ledger, ledger = calm.ledger(), hit.ledger()
    assert {key for _, _, key in calm_ledger} == {key for what, _, key in ledger if what == "whole"}
    assert sum(what != "whole" for what, _, _ in ledger) > 20
    assert faulty_teacher.billed_twice(calm_ledger) == faulty_teacher.billed_twice(ledger) == (0, 0)
    assert faulty_teacher.again_after_whole(ledger) <= hit.sigkills * 8
