"""benchmarks/gpu.py runs whole on a CPU at tiny sizes, so that a card's minutes are not spent on its mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_section_has_its_rows_and_none_fails(tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), "--device", "cpu", "--shape", "tiny"]
    command += ["--json", str(tmp_path / "gpu.json"), "--table", str(tmp_path / "gpu.md"), "--eager"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert not [row for row in rows if "failed" in row]
    assert {row["what"].split(",")[0] for row in rows} >= {"copy", "vocabulary", "GRPO step", "SGPO step", "sampling"}
    assert all(row["tokens_per_second"] > 0 for row in rows if "step" in row["what"])
    assert (tmp_path / "gpu.md").read_text().count("\n| ") == len(rows) + 1
