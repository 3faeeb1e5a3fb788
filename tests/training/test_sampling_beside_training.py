"""Processes that sample ahead may meet (a new temperature, as after a validation) while training has collectives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from warm_python import WarmRanks

pytestmark = pytest.mark.slow


def test_samplers_meet_in_a_group_of_their_own(tmp_path: Path) -> None:
    program = [str(Path(__file__).parent / "gloo_barrier.py"), str(tmp_path)]
    ranks = WarmRanks(2, program, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"})
    said, _ = ranks.communicate(timeout=120)
    assert ranks.returncode == 0, said[-2000:]
    assert [(tmp_path / str(rank)).read_text(encoding="utf-8") for rank in (0, 1)] == ["23.0", "23.0"]
