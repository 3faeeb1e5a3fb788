"""The same global batch on 1, 2 and 4 processes: the same loss and the same weights afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from warm_python import WarmRanks

sys.path.insert(0, str(Path(__file__).parent))

from gloo_step import CASES, one_step

from sgpo.training.world import World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[2, 4])
def results(request, tmp_path_factory) -> dict[str, dict]:
    """What so many processes compute, every case in one process group."""
    output = tmp_path_factory.mktemp("gloo") / "results.pt"
    step = [str(Path(__file__).parent / "gloo_step.py"), str(output), *CASES]
    ranks = WarmRanks(request.param, step, output.parent, {**os.environ, "OMP_NUM_THREADS": "1"})
    said, _ = ranks.communicate(timeout=200)
    assert ranks.returncode == 0, said[-2000:]
    return torch.load(output, weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_several_gloo_processes_give_the_loss_and_the_update_of_one(results, tokenizer, case):
    one, several = one_step(World(0, 1, torch.device("cpu")), tokenizer, case), results[case]
    assert several["loss"] == pytest.approx(one["loss"], abs=1e-12)
    assert several["weights"].keys() == one["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(several["weights"][name], weight, atol=1e-10, rtol=0.0)
    assert several["moved"] > 1e-5
