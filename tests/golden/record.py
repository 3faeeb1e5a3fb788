"""Record `losses.json` anew: `python tests/golden/record.py --yes-the-method-changed`.

A redesign never runs this: its numbers are those that are there. Who changes a number on purpose records it, and says
in docs/decisions.md why, with a curve.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent
LOSSES = FOLDER / "losses.json"
PROCESSES = (1, 2)


def machine() -> dict[str, str]:
    """What equality to the last bit depends on."""
    fields = dict(
        (part.strip() for part in line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    return {
        "processor": " ".join(fields.get(name, "") for name in ("vendor_id", "cpu family", "model", "stepping")),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def compute(processes: int) -> dict[str, list[dict[str, Any]]]:
    """The records of every case on so many processes, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "records.json"
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(launcher if processes > 1 else ()), str(FOLDER / "steps.py"), str(output)]
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return json.loads(output.read_text(encoding="utf-8"))


def main() -> None:
    """Compute on one and on two processes, and replace the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yes-the-method-changed", action="store_true", required=True)
    parser.parse_args()
    recorded = {"machine": machine(), **{f"processes {n}": compute(n) for n in PROCESSES}}
    LOSSES.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    print(f"{LOSSES}: recorded")


if __name__ == "__main__":
    main()
