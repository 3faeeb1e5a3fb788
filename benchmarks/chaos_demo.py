"""`python benchmarks/chaos_demo.py`: the demo killed in every phase, and run again each time; prints a table.

In a checkout with a world and a model that take seconds, `flows.demo` is started, killed with SIGKILL some moments
after a phase has begun, and started again, once for each phase; then it runs to its end. What is there at the end is
counted. Not a test of pytest: it takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))

from measure import add_json, write_figures
from tiny_checkout import TINY_OVERRIDES, environment_of, make_tiny_checkout

from sgpo.config import TrackingConfig
from sgpo.registry.promotion import aliases, history
from sgpo.registry.records import gaps
from sgpo.tracking.client import connect

PHASES = (
    "world and base model", "base model registered", "strategies", "probe", "training", "evaluation", "promotion",
    "report",
)  # fmt: skip
LATEST_S = {"world and base model": 12.0, "strategies": 6.0, "probe": 8.0, "training": 12.0, "evaluation": 12.0}
"""How long after a phase has begun the kill may come; other phases are over within a second."""


def start(checkout: Path) -> subprocess.Popen[str]:
    """`make demo`, with a gate that lets any model through."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.demo", *TINY_OVERRIDES, "gate.margin=-1", "gate.tolerance=1"], cwd=checkout,
        env=environment_of(checkout), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until_killed(checkout: Path, phase: str, after: float) -> list[str]:
    """Run the demo until `after` seconds into `phase`, and what it said."""
    demo, said = start(checkout), list[str]()
    assert demo.stdout is not None
    for line in demo.stdout:
        said.append(line)
        if line.startswith(f"== {phase}"):
            time.sleep(after)
            break
    demo.kill()
    demo.wait()
    deadline = time.monotonic() + 60
    while left := [process.pid for process in psutil.process_iter() if _works_in(process, checkout)]:
        if time.monotonic() > deadline:
            raise SystemExit(f"killed in '{phase}': processes {left} go on")
        time.sleep(0.1)
    return said


def main() -> None:
    """Kill in each phase, then count."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_json(parser)
    arguments = parser.parse_args()
    choose, rows = random.Random(0), []
    with tempfile.TemporaryDirectory() as work:
        checkout = make_tiny_checkout(Path(work) / "checkout")
        for phase in PHASES:
            after = choose.uniform(0.0, LATEST_S.get(phase, 0.5))
            said = until_killed(checkout, phase, after)
            reached = any(line.startswith(f"== {phase}") for line in said)
            as_before = sum(": as before" in line for line in said)
            rows.append((phase, f"{after:.1f}" if reached else "not reached", as_before))
        last = start(checkout)
        output, _ = last.communicate(timeout=600)
        if last.returncode != 0:
            raise SystemExit(output)
        print("| killed in | seconds after it began | data stages that this start found done |\n|---|---|---|")
        for phase, after, as_before in rows:
            print(f"| {phase} | {after} | {as_before} |")
        wrong = broken(checkout)
        print(f"\nThe start after the last kill completed. Lost or doubled: {'; '.join(wrong) or 'nothing'}.")
        found_done = {phase: as_before for phase, _, as_before in rows}
        write_figures(arguments.json, {"kills": len(rows), "found_done": found_done, "broken": len(wrong)})
        sys.exit(bool(wrong))


def broken(checkout: Path) -> list[str]:
    """What the run directory, the registry and MLflow have too little or too much of."""
    found, tracking = [], TrackingConfig(mlflow_uri=f"sqlite:///{checkout}/.sgpo/mlflow.db")
    runs = sorted(path.name for path in (checkout / "runs").glob("demo-*"))
    if runs != ["demo-001"]:
        found.append(f"runs {runs}")
    run = checkout / "runs" / runs[0]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    if sorted(set(steps)) != steps:
        found.append(f"steps {steps}")
    client = connect(tracking)
    logged = [value.step for value in client.get_metric_history((run / "mlflow_run_id").read_text(), "optim/lr")]
    if sorted(logged) != [0, 1, 2]:
        found.append(f"steps {sorted(logged)} in MLflow")
    versions = sorted(version.version for version in client.search_model_versions("name = 'sgpo-testbed'"))
    if [int(version) for version in versions] != [1, 2]:
        found.append(f"versions {versions}")
    actions = [entry.action for entry in history(tracking)]
    if actions != ["set_champion", "promote"]:
        found.append(f"decisions {actions}")
    return [*found, *gaps(history(tracking), aliases(tracking).get("champion"))]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
