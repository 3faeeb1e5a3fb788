"""`python benchmarks/orchestration.py CHECKOUT`: what orchestration adds to a retraining, in seconds and per cent.

CHECKOUT is a clone in which `make demo` has run, so that data and champion are there. The same work is done by plain
commands (`dvc repro`, `sgpo registry download`, `sgpo train`, `sgpo evaluate` twice, `sgpo compare`, `dvc push`) and by
the deployment `retrain` on the services of `sgpo up`, in turns. What only the flow does is in its figure:
registering the challenger, the decision, the report, MLflow's runs of the phases. Not a test of pytest: it needs a
quiet machine and ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))

from measure import add_json, write_figures
from site_of_services import ENDED, Site, free_ports, wait_until

from sgpo.config import TrackingConfig

ROUNDS = 2
RECIPE = ("--config", "configs/testbed.yaml")
NEVER_PROMOTE = "gate.margin=1.0"


def plain(site: Site, run: str) -> float:
    """Seconds by commands, one after the other."""
    sgpo = ("-m", "sgpo.cli")
    begun = time.monotonic()
    site.python(*sgpo, "registry", "download", "champion", "data/champion", *RECIPE)
    site.python("-m", "dvc", "repro", "splits")
    site.python(*sgpo, "train", "--model", "data/champion", "--run", f"runs/{run}", *RECIPE)
    for who, model in (("champion", "data/champion"), ("challenger", f"runs/{run}/model")):
        site.python(*sgpo, "evaluate", "--model", model, "--output", f"runs/{run}/evaluation/{who}.jsonl", *RECIPE)
    outcomes = [f"--{who}=runs/{run}/evaluation/{who}.jsonl" for who in ("champion", "challenger")]
    site.python(*sgpo, "compare", *outcomes, *RECIPE)
    site.python("-m", "dvc", "push", "--quiet")
    return time.monotonic() - begun


def orchestrated(site: Site, run: str) -> tuple[float, float]:
    """Seconds from the flow run's start to its end, and from the click to its start."""
    flow_run = site.start("retrain", run_id=run, overrides=[NEVER_PROMOTE])

    def ended() -> dict | None:
        (found,) = site.prefect("flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
        return found if found["state_type"] in ENDED else None

    found = wait_until(ended, 900, "the run ends", site.checkout / ".sgpo" / "services" / "worker.log")
    assert found["state_type"] == "COMPLETED", found["state"]
    asked, started, end = (
        datetime.fromisoformat(found[name]) for name in ("expected_start_time", "start_time", "end_time")
    )
    return (end - started).total_seconds(), (started - asked).total_seconds()


def main() -> None:
    """Measure in turns, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    add_json(parser)
    arguments = parser.parse_args()
    checkout: Path = arguments.checkout.absolute()
    ports: dict[str, int] = dict(zip(("prefect", "mlflow", "webhook", "s3"), free_ports(4), strict=True))
    site = Site(checkout, ports, TrackingConfig())
    stamp = f"{datetime.now():%H%M%S}"
    site.up()
    try:
        by_commands, by_flow, waits = [], [], []
        for number in range(ROUNDS):
            by_commands.append(plain(site, f"plain-{stamp}-{number}"))
            seconds, wait = orchestrated(site, f"flow-{stamp}-{number}")
            by_flow.append(seconds)
            waits.append(wait)
    finally:
        site.down()
    commands, flow = statistics.mean(by_commands), statistics.mean(by_flow)
    print(f"plain commands {_list(by_commands)} s, retrain {_list(by_flow)} s: {flow - commands:+.1f} s, "
          f"{flow / commands - 1:+.1%}; from click to start {_list(waits)} s")  # fmt: skip
    figures = {"commands_seconds": by_commands, "flow_seconds": by_flow, "flow_over_commands": flow / commands,
               "wait_seconds": waits}  # fmt: skip
    write_figures(arguments.json, figures)


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in seconds)


if __name__ == "__main__":
    main()
