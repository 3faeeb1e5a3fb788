"""No redesign changes a number: losses, gradient norms and weights of every method are those that were recorded.

To the last bit on the machine that recorded them, to float32 rounding elsewhere. `record.py` records them anew.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from record import FOLDER, LOSSES, PROCESSES, compute, machine
from steps import CASES, STEPS
from warm_python import WarmRanks

RECORDED = json.loads(LOSSES.read_text(encoding="utf-8"))
SAME_MACHINE = RECORDED["machine"] == machine()
ELSEWHERE = {"rel": 2e-3, "abs": 1e-5}
"""AdamW divides by the root of the second moment: rounding of a gradient near zero moves a weight by the whole rate."""
SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in PROCESSES[1:]]
"""`make test-fast` has the golden losses on one process."""


@pytest.fixture(scope="module", params=[PROCESSES[0], *SLOW])
def both(request, tmp_path_factory) -> tuple[dict, dict]:
    """(recorded, computed) records of one and of two processes."""
    recorded = RECORDED[f"processes {request.param}"]
    if request.param == 1:
        return recorded, compute(1)
    output = tmp_path_factory.mktemp("golden") / "records.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = WarmRanks(request.param, [str(FOLDER / "steps.py"), str(output)], output.parent, environment)
    said, _ = ranks.communicate(timeout=500)
    assert ranks.returncode == 0, said[-3000:]
    return recorded, json.loads(output.read_text(encoding="utf-8"))


def test_every_case_is_recorded():
    for processes in PROCESSES:
        assert RECORDED[f"processes {processes}"].keys() == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_loss_gradient_norm_and_weights_are_the_recorded_ones(both, case):
    recorded, computed = both[0][case], both[1][case]
    assert len(recorded) == len(computed) == STEPS
    for before, now in zip(recorded, computed, strict=True):
        if SAME_MACHINE:
            assert now["weights_sha256"] == before["weights_sha256"]
            assert (now["loss"], now["grad_norm"]) == (before["loss"], before["grad_norm"])
        for name in ("loss", "grad_norm", "weights_norm"):
            assert now[name] == pytest.approx(before[name], **ELSEWHERE), name


@pytest.mark.parametrize("case", CASES)
def test_metrics_are_the_recorded_ones(both, case):
    """To rounding everywhere: sums over tokens may be taken in another order."""
    within = {"rel": 1e-5, "abs": 1e-7} if SAME_MACHINE else ELSEWHERE
    for before, now in zip(both[0][case], both[1][case], strict=True):
        assert now["metrics"].keys() == before["metrics"].keys()
        for name, value in before["metrics"].items():
            assert now["metrics"][name] == pytest.approx(value, **within), name
