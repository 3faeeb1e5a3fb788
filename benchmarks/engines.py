"""Does training reach the same reward whatever samples? The testbed's recipe with every engine, three seeds each.

Run `make demo` once before (it makes the data), then with the environment that has vLLM (`make .venv-vllm/installed`):
`.venv-vllm/bin/python benchmarks/engines.py`. Finished runs are kept in runs/engines and not repeated; every model is
measured by the transformers engine on the same held-out problems and seeds. Prints a table for
docs/measured/rollouts.md; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import add_json, write_figures

from sgpo.config import load_config
from sgpo.evaluation.comparison import Comparison
from sgpo.evaluation.evaluate import evaluate_model
from sgpo.evaluation.report import compare_files
from sgpo.pipeline.report import read_metrics

RECIPE = "configs/testbed.yaml"
BASE = Path("data/base/qwen2")
FOLDER = Path("runs/engines")
AT_ONCE = 2
BASE_LOCK = threading.Lock()
ENGINES = {
    "transformers": ["engine.kind=transformers"],
    "transformers, sampling ahead": ["engine.kind=transformers", "training.overlap=true"],
    "vLLM in process": ["engine.kind=vllm"],
    "vLLM server": ["engine.kind=vllm-server"],
}
SEEDS = range(3)


def run_one(name: str, overrides: list[str], seed: int) -> tuple[Comparison, list[dict]]:
    """Train and measure one seed with one engine; what is done already is not repeated."""
    folder = FOLDER / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')}-{seed}"
    if not (folder / "model" / "config.json").is_file():
        command = [sys.executable, "-m", "sgpo.cli", "train", "--model", str(BASE), "--run", str(folder)]
        tracking = f"tracking.mlflow_uri=sqlite:///{FOLDER.absolute()}/{folder.name}.db"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with (FOLDER / f"{folder.name}.log").open("w", encoding="utf-8") as log:
            subprocess.run(
                [*command, "--config", RECIPE, *overrides, f"seed={seed}", tracking],
                check=True, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
    # The same engine and evaluation seeds for every run: only the weights differ.
    config, base = load_config(RECIPE), FOLDER / "base.jsonl"
    with BASE_LOCK:
        evaluate_model(config, BASE, base)
    evaluate_model(config, folder / "model", folder / "held_out.jsonl")
    return compare_files(config, base, folder / "held_out.jsonl"), read_metrics(folder)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json(parser)
    arguments = parser.parse_args()
    means = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for name in ENGINES for seed in SEEDS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(jobs, pool.map(lambda job: run_one(job[0], ENGINES[job[0]], job[1]), jobs), strict=True))
    print(
        "| engine | seed | base | trained | gain, 95 % interval | reward of the last ten steps | largest mismatch, k3 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ENGINES:
        for seed in SEEDS:
            comparison, rows = results[name, seed]
            gain, difference = comparison.overall, comparison.overall.difference
            reward = statistics.fmean(row["reward/autonomous"] for row in rows[-10:])
            mismatch = max(row["policy/sampler_mismatch_kl"] for row in rows if "policy/sampler_mismatch_kl" in row)
            print(
                f"| {name} | {seed} | {100 * gain.champion:.1f} | {100 * gain.challenger:.1f} "
                f"| {100 * difference.value:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f}) "
                f"| {100 * reward:.1f} % | {mismatch:.1e} |"
            )
    for name in ENGINES:
        means[name] = 100 * statistics.fmean(results[name, seed][0].overall.challenger for seed in SEEDS)
        print(f"{name}: mean {means[name]:.1f}")
    write_figures(arguments.json, {"mean_avg_at_k": means, "seeds": len(SEEDS)})


if __name__ == "__main__":
    main()
