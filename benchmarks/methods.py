"""Does SGPO help on the testbed? SGPO over five seeds; SGPO without KL clipping and GRPO, three seeds each.

Every method has the same base model, problems, steps and sample budget (12 rollouts per problem), and is measured
without strategies on held-out problems that nothing was tuned on. Run `make demo` once before (it makes the data), then
`.venv/bin/python benchmarks/methods.py`; finished runs are kept in runs/methods and not repeated. Writes the table
docs/measured/testbed-results.md.

With a base model that rarely chooses rightly, so that most autonomous groups are all wrong:

    torchrun --standalone --nproc-per-node 2 -m sgpo.cli world base-model --params benchmarks/rarely_right.yaml \\
        --data runs/rarely-right --work runs/rarely-right/work
    python benchmarks/methods.py --base runs/rarely-right/base/qwen2 --folder runs/methods-rarely-right \\
        --seeds 3 --table docs/measured/testbed-rarely-right.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
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
FOLDER = Path("runs/methods")
METHODS: dict[str, tuple[list[str], range]] = {
    "SGPO": ([], range(5)),
    "SGPO without KL clipping": (["training.algorithm.delta=null"], range(3)),
    "GRPO, 12 rollouts": (["training.algorithm.type=grpo"], range(3)),
}
AT_ONCE = 2
BASE_LOCK = threading.Lock()


def run_one(
    name: str, overrides: list[str], seed: int, all_runs: Path, base: Path = BASE
) -> tuple[Comparison, list[dict]]:
    """Train and measure one seed of one method; what is done already is not repeated."""
    folder = all_runs / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')}-{seed}"
    settings = [*overrides, f"seed={seed}"]
    if not (folder / "model" / "config.json").is_file():
        command = [sys.executable, "-m", "sgpo.cli", "train", "--model", str(base), "--run", str(folder)]
        tracking = f"tracking.mlflow_uri=sqlite:///{all_runs.absolute()}/{folder.name}.db"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with (all_runs / f"{folder.name}.log").open("w", encoding="utf-8") as log:
            subprocess.run(
                [*command, "--config", RECIPE, *settings, tracking], check=True, env=environment, stdout=log, stderr=log
            )
    # The same evaluation seeds for every run: only the weights differ.
    config = load_config(RECIPE)
    evaluate_model(config, folder / "model", folder / "held_out.jsonl")
    return compare_files(config, measured_base(base, all_runs), folder / "held_out.jsonl"), read_metrics(folder)


def measured_base(base: Path, all_runs: Path) -> Path:
    """The base model's outcomes on the held-out problems; measured once."""
    with BASE_LOCK:
        evaluate_model(load_config(RECIPE), base, all_runs / "base.jsonl")
    return all_runs / "base.jsonl"


def mean(rows: list[dict], name: str) -> float:
    """Mean of a metric over the steps that have it."""
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else float("nan")


def percent(rows: list[dict], name: str) -> str:
    """The mean as per cent; a dash where nothing was distilled."""
    share = mean(rows, name)
    return f"{100 * share:.1f} %" if share == share else "-"


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--table", type=Path, default=Path("docs/measured/testbed-results.md"))
    parser.add_argument("--seeds", type=int, default=5, help="At most so many for each method")
    add_json(parser)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(name, overrides, seed) for name, (overrides, seeds) in METHODS.items() for seed in seeds[: options.seeds]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda job: run_one(*job, options.folder, options.base), jobs))
    columns = ("method", "seed", "base", "trained", "gain, 95 % interval", "pass rate in training, unguided / guided")
    columns = (*columns, "mean alpha", "masked, tokens / KL mass")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (name, _, seed), (comparison, rows) in zip(jobs, results, strict=True):
        gain = comparison.overall
        difference = gain.difference
        guided = mean(rows, "reward/guided")
        lines.append(
            f"| {name} | {seed} | {100 * gain.champion:.1f} | {100 * gain.challenger:.1f} "
            f"| {100 * difference.value:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f}) "
            f"| {100 * mean(rows, 'reward/autonomous'):.0f} / {f'{100 * guided:.0f}' if guided == guided else '-'} "
            f"| {mean(rows, 'distill/alpha_mean'):.2f} "
            f"| {percent(rows, 'distill/tokens_masked_fraction')} "
            f"/ {percent(rows, 'distill/kl_mass_masked_fraction')} |"
        )
    command = " ".join([".venv/bin/python benchmarks/methods.py", *sys.argv[1:]])
    about = f"Made by `{command}`: one run a line, means over the steps of training."
    page = ["# Methods on the testbed", f"{about} What it shows: [testbed.md](testbed.md).", "", *lines]
    options.table.write_text("\n".join(page) + "\n", encoding="utf-8")
    summary = {
        name: [100 * comparison.overall.challenger for (job, _, _), (comparison, _) in zip(jobs, results, strict=True)
               if job == name]
        for name in METHODS
    }  # fmt: skip
    (options.folder / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    print("\n".join(lines))
    for name, values in summary.items():
        print(f"{name}: mean {sum(values) / len(values):.1f} over {len(values)} seeds")
    write_figures(options.json, {"avg_at_k": summary})


if __name__ == "__main__":
    main()
