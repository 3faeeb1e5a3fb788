"""Does training reach the same reward whatever samples? The testbed's recipe with every engine, three seeds each.

Run `make demo` once before (it makes the data), then with the environment that has vLLM (`make .venv-vllm/installed`):
`.venv-vllm/bin/python benchmarks/engines.py`. Finished runs are kept in runs/engines and not repeated; every model is
measured by the transformers engine on the same held-out problems and seeds. Prints a table for
docs/measured/rollouts.md; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import add_json, write_figures
from methods import AT_ONCE, mean, run_one

FOLDER = Path("runs/engines")
ENGINES = {
    "transformers": ["engine.kind=transformers"],
    "transformers, sampling ahead": ["engine.kind=transformers", "training.overlap=true"],
    "vLLM in process": ["engine.kind=vllm"],
    "vLLM server": ["engine.kind=vllm-server"],
}
SEEDS = range(3)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json(parser)
    arguments = parser.parse_args()
    means = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for name in ENGINES for seed in SEEDS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(
            zip(jobs, pool.map(lambda job: run_one(job[0], ENGINES[job[0]], job[1], FOLDER), jobs), strict=True)
        )
    print(
        "| engine | seed | base | trained | gain, 95 % interval | reward of the last ten steps | largest mismatch, k3 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ENGINES:
        for seed in SEEDS:
            comparison, rows = results[name, seed]
            gain, difference = comparison.overall, comparison.overall.difference
            mismatch = max(row["policy/sampler_mismatch_kl"] for row in rows if "policy/sampler_mismatch_kl" in row)
            print(
                f"| {name} | {seed} | {100 * gain.champion:.1f} | {100 * gain.challenger:.1f} "
                f"| {100 * difference.value:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f}) "
                f"| {100 * mean(rows[-10:], 'reward/autonomous'):.1f} % | {mismatch:.1e} |"
            )
    for name in ENGINES:
        trained = [100 * results[name, seed][0].overall.challenger for seed in SEEDS]
        means[name] = sum(trained) / len(trained)
        print(f"{name}: mean {means[name]:.1f}")
    write_figures(arguments.json, {"mean_avg_at_k": means, "seeds": len(SEEDS)})


if __name__ == "__main__":
    main()
