"""benchmarks/roofline.py and step.py run whole at a tiny size, and their figures fit together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]


def figures(folder: Path, script: str, *arguments: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, f"benchmarks/{script}", "--shape", "tiny", "--rounds", "1", *arguments]
    command += ["--json", str(folder / "figures.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "figures.json").read_text()), done.stdout


def test_every_phase_has_a_line_and_the_table_begins_with_what_loses_most(tmp_path: Path) -> None:
    found, said = figures(tmp_path, "roofline.py", "--table", str(tmp_path / "table.md"))
    phases = found["phases"]
    assert phases.keys() >= {
        "prompts of sampling", "decode", "verifier", "guide forward", "forward", "backward", "vocabulary work",
        "optimiser", "weight sync", "the trainer's Python",
    }  # fmt: skip
    assert all(phase["seconds"] > 0 for phase in phases.values())
    for name in ("decode", "forward", "backward", "vocabulary work", "guide forward"):
        assert 0 < phases[name]["product_rate_share"] < 1, name
    assert phases["backward"]["useful_flops"] == 2 * phases["forward"]["useful_flops"]
    assert found["sampling_parts"].keys() >= {"products of the layers", "attention over the cache"}
    lost = sorted(phases, key=lambda name: -phases[name]["lost_seconds"])
    assert [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines() if line.startswith("| ")][
        1 : len(lost) + 1
    ] == lost
    assert (tmp_path / "table.md").read_text().strip() == said.strip()
    assert found["product_rate"] > 1e8
    assert found["copy_rate"] > 1e7


@pytest.mark.long
def test_a_step_is_compared_between_layouts_and_with_trl(tmp_path: Path) -> None:
    found, said = figures(tmp_path, "step.py", "--clock", "cpu")
    assert found["clock"] == "cpu"
    assert "1 threads, cpu clock" in said
    seconds = found["seconds"]
    assert found["plain_over_shared"] == seconds["plain"] / seconds["shared"]
    assert found["sgpo_over_trl"] == seconds["shared"] / min(seconds["12"], seconds["6"])
    assert found["product_rate_share"] == found["useful_flops"] / seconds["shared"] / found["product_rate"]
    assert found["product_rate"] > 1e8
