"""Seconds from the start of `sgpo train` to its first step, and what checkpoints cost beside the steps.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv/bin/python benchmarks/checkpoints.py [--steps 24] [--rounds 2]

Needs the testbed's data and base model (run `make demo` once). Runs of the testbed's recipe with 8 problems a step save
after every second step, so that steps beside which a checkpoint is written and steps without one take turns. "waits" is
what the training thread spends on a checkpoint: copying, and waiting for the one before it. "slower" is all of it: a
step with a checkpoint against the mean of its neighbours without, seconds of all phases; median and its 95 % bootstrap
interval. The larger model is made on the spot and answers at random.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from measure import add_json, write_figures
from scipy.stats import bootstrap

from sgpo.config.testbed import BaseModelConfig
from sgpo.testbed.base_model import new_model, testbed_tokenizer

BASE, RECIPE = Path("data/base/qwen2"), Path("configs/testbed.yaml")
SETTINGS = ("training.checkpoint_every=2", "training.problems_per_step=8", "training.learning_rate=1e-7")


@dataclass(slots=True)
class Seen:
    """Seconds to the first step; of steps without a checkpoint; what a checkpoint held the next step up; and ratios."""

    starts: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    slower: list[float] = field(default_factory=list)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--hidden-size", type=int, default=256, help="Of the larger model")
    parser.add_argument("--layers", type=int, default=6, help="Of the larger model")
    add_json(parser)
    arguments = parser.parse_args()
    figures = {}
    print("| model | checkpoint | first step begins after | step without | waits | waits, share | slower |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="checkpoints-") as name:
        models = {"the testbed's": BASE, "larger": large_model(Path(name), arguments.hidden_size, arguments.layers)}
        for label, model in models.items():
            seen, folder = Seen(), Path(name)
            for number in range(arguments.rounds):
                folder = Path(name) / f"{label}-{number}"
                run(model, folder, arguments.steps, seen)
            print(row(label, folder, seen), flush=True)
            figures[label] = {
                "first_step_after_seconds": float(np.median(seen.starts)),
                "waits_seconds": float(np.median(seen.waits)), "step_seconds": float(np.median(seen.steps)),
                "slower": float(np.median(seen.slower)),
            }  # fmt: skip
    write_figures(arguments.json, {"models": figures})


def large_model(folder: Path, hidden_size: int, layers: int) -> Path:
    """A model of random weights with the testbed's tokenizer."""
    tokenizer = testbed_tokenizer()
    torch.manual_seed(0)
    new_model(BaseModelConfig(hidden_size=hidden_size, layers=layers), tokenizer).save_pretrained(folder / "large")
    tokenizer.save_pretrained(folder / "large")
    return folder / "large"


def run(model: Path, folder: Path, steps: int, seen: Seen) -> None:
    """One `sgpo train`; what it took is added to `seen`."""
    command = [sys.executable, "-m", "sgpo.cli", "train", "--model", str(model), "--run", str(folder)]
    command += ["--config", str(RECIPE), f"training.steps={steps}", *SETTINGS]
    command += [f"tracking.mlflow_uri=sqlite:///{folder.parent}/mlflow.db"]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        first = next(time.monotonic() for line in process.stdout if line.startswith("step "))
        process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds = [sum(value for key, value in row.items() if key.startswith("time/")) for row in rows]
    seen.starts.append(first - begun - seconds[0])
    # Saved after steps 1, 3, ...; written beside steps 2, 4, ..., which also bear what the saving took.
    for step in range(2, steps - 1, 2):
        without = (seconds[step - 1] + seconds[step + 1]) / 2
        seen.steps.append(without)
        seen.waits.append(rows[step]["time/checkpoint"])
        seen.slower.append(seconds[step] / without - 1.0)


def row(label: str, folder: Path, seen: Seen) -> str:
    """One line of the table."""
    newest = max((folder / "checkpoints").glob("step-*"))
    size = sum(file.stat().st_size for file in newest.iterdir()) / 2**20
    step, waits = np.median(seen.steps), np.median(seen.waits)
    interval = bootstrap((seen.slower,), np.median, n_resamples=2000, rng=0, method="percentile").confidence_interval
    return (
        f"| {label} | {size:.1f} MiB | {np.median(seen.starts):.1f} s | {step:.2f} s | {waits * 1000:.0f} ms | "
        f"{waits / step:.1%} | {np.median(seen.slower):+.1%} ({interval.low:+.1%} to {interval.high:+.1%}) |"
    )


if __name__ == "__main__":
    main()
