"""`python benchmarks/chaos_retraining.py [SCENARIO ...]`: what a retraining survives, on real services; prints a table.

Each time a tiny `retrain` is started on the services of `sgpo up`, with its runs stored on S3 behind a proxy, and when
training is under way something is killed or taken away. A run that does not complete by itself is started again with
the same run id. Then everything is counted: steps, MLflow's values, versions, decisions, stored files. Not a test of
pytest: it takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "storage"))

from measure import add_json, write_figures
from s3_server import FaultyProxy
from site_of_services import ENDED, Site, free_ports, wait_until
from tiny_checkout import make_tiny_checkout

from flows.local.processes import FOLDER, read_started
from sgpo.config import StorageConfig, TrackingConfig
from sgpo.registry import register_model_folder
from sgpo.registry.promotion import aliases, history, set_champion
from sgpo.registry.records import gaps
from sgpo.storage import ObjectStore, verify_folder
from sgpo.tracking.client import connect

STEPS, KILL_AT = 120, 20
OUTAGE_OF_MLFLOW_S, OUTAGE_OF_S3_S = 120.0, 30.0
LONGEST_S = 900.0
BUCKET = "chaos"
SCENARIOS = ("none", "worker", "flow-run", "server", "mlflow", "s3", "schedule")


class Chaos:
    """The site, the proxy before its S3, and how to disturb a run."""

    def __init__(self, site: Site, proxy: FaultyProxy) -> None:
        self.site, self.proxy = site, proxy

    def kill(self, service: str) -> None:
        """SIGKILL one of the services, with all that belongs to it but the flow runs that a worker has begun."""
        (started,) = [one for one in read_started(self.site.checkout / FOLDER) if one.name == service]
        members = [started.process()] if service == "worker" else started.processes()
        for member in members:
            if member is not None:
                member.kill()

    def kill_worker(self) -> str:
        self.kill("worker")
        time.sleep(10)
        self.site.up()
        return "worker killed, started again after 10 s (`sgpo up`)"

    def kill_flow_run(self) -> str:
        (run,) = [process for process in psutil.process_iter() if _is_flow_run(process, self.site.checkout)]
        run.kill()
        return "the flow run's own process killed"

    def kill_server(self) -> str:
        self.kill("prefect")
        time.sleep(20)
        self.site.up()
        return "Prefect server killed, started again after 20 s (`sgpo up`)"

    def take_mlflow_away(self) -> str:
        self.kill("mlflow")
        time.sleep(OUTAGE_OF_MLFLOW_S)
        self.site.up()
        return f"MLflow killed, started again after {OUTAGE_OF_MLFLOW_S:.0f} s"

    def break_s3(self) -> str:
        self.proxy.fault = lambda method, path: "503"
        time.sleep(OUTAGE_OF_S3_S)
        self.proxy.fault = lambda method, path: None
        return f"S3 answers 503 for {OUTAGE_OF_S3_S:.0f} s"

    def run(self, name: str, disturb: Callable[[], str]) -> list[str]:
        """One row of the table."""
        run_id = f"chaos-{name}"
        begun = time.monotonic()
        flow_run = self.site.start("retrain", run_id=run_id, recipe="configs/weekly.yaml")
        self._wait_for_step(run_id)
        what = disturb()
        first = self._end_of(flow_run)
        again = "-"
        if first != "COMPLETED":
            flow_run = self.site.start("retrain", run_id=run_id, recipe="configs/weekly.yaml")
            again = self._end_of(flow_run)
        seconds = time.monotonic() - begun
        wrong = self.broken(run_id)
        return [what, first, again, f"{seconds:.0f}", "nothing" if not wrong else "; ".join(wrong)]

    def schedule(self) -> list[str]:
        """`retrain` by a schedule of 20 s, which is shorter than a retraining: one at a time, and trained only once."""
        (deployment,) = self.site.prefect("deployments/filter", {"deployments": {"name": {"any_": ["retrain"]}}})
        parameters = {"recipe": "configs/weekly.yaml", "overrides": ["gate.margin=1.0", "training.steps=20"]}
        (schedule,) = self.site.prefect(
            f"deployments/{deployment['id']}/schedules",
            [{"active": True, "schedule": {"interval": 20.0}, "parameters": parameters}],
        )
        begun, most_at_once, waited, ended = time.monotonic(), 0, set[str](), list[dict]()
        while len(ended) < 3 and time.monotonic() - begun < LONGEST_S:
            runs = [run for run in self.site.runs("retrain") if run["auto_scheduled"]]
            ended = [run for run in runs if run["state_type"] in ENDED]
            most_at_once = max(most_at_once, sum(run["state_type"] == "RUNNING" for run in runs))
            waited |= {run["id"] for run in runs if run["state_name"] == "AwaitingConcurrencySlot"}
            time.sleep(0.5)
        self.site.delete(f"deployments/{deployment['id']}/schedules/{schedule['id']}")
        names = [run["name"].removeprefix("retrain ") for run in ended]
        trained = [name for name in names if (self.site.checkout / "runs" / name / "model").is_dir()]
        said = len(self.site.prefect("artifacts/filter", {"artifacts": {"key": {"any_": ["nothing-new"]}}}))
        states = {run["state_type"] for run in ended}
        right = (
            most_at_once == 1 and waited and states == {"COMPLETED"} and len(trained) == 1 and said >= len(ended) - 1
        )
        what = f"{len(ended)} runs by a schedule of 20 s, at most {most_at_once} at once, {len(waited)} seen waiting"
        return [
            what, " ".join(sorted(states)), "-", f"{time.monotonic() - begun:.0f}",
            "nothing" if right else f"trained {len(trained)} times, `nothing-new` {said} times",
        ]  # fmt: skip

    def broken(self, run_id: str) -> list[str]:
        """What was lost or doubled, counted in the run's files, MLflow, the registry and S3."""
        folder, tracking = self.site.checkout / "runs" / run_id, self.site.tracking
        rows = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        found = [] if rows == list(range(STEPS)) else [f"steps in metrics.jsonl: {len(rows)}"]
        client = connect(tracking)
        mlflow_run = (folder / "mlflow_run_id").read_text()
        logged = sorted(value.step for value in client.get_metric_history(mlflow_run, "reward/autonomous"))
        if logged != list(range(STEPS)):
            found.append(f"{len(logged)} values in MLflow, of {len(set(logged))} steps")
        versions = [
            version for version in client.search_model_versions(f"name = '{tracking.registered_model}'")
            if client.get_model_version(version.name, version.version).tags.get("sgpo.run_id") == run_id
        ]  # fmt: skip
        if len(versions) != 1:
            found.append(f"{len(versions)} versions registered")
        found += gaps(history(tracking), aliases(tracking).get("champion"))
        decisions = [entry for entry in history(tracking) if entry.version in {str(one.version) for one in versions}]
        if len(decisions) != 1:
            found.append(f"{len(decisions)} decisions recorded")
        if not (folder / "summary.json").is_file():
            found.append("no summary.json")
        settings = StorageConfig(bucket=BUCKET, endpoint_url=self.proxy.url)
        verify_folder(ObjectStore(settings), f"runs/{run_id}/model")
        return found

    def _wait_for_step(self, run_id: str) -> None:
        metrics = self.site.checkout / "runs" / run_id / "metrics.jsonl"
        log = self.site.checkout / FOLDER / "worker.log"
        reached = lambda: metrics.is_file() and len(metrics.read_text().splitlines()) >= KILL_AT  # noqa: E731
        wait_until(reached, 300, f"{run_id} is at step {KILL_AT}", log)

    def _end_of(self, flow_run: str) -> str:
        log = self.site.checkout / FOLDER / "worker.log"

        def state() -> str | None:
            found = self.site.prefect("flow_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
            return found[0]["state_type"] if found[0]["state_type"] in ENDED else None

        return wait_until(state, LONGEST_S, "the run ends", log)


def main() -> None:
    """Run the scenarios named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    add_json(parser)
    arguments = parser.parse_args()
    wanted: list[str] = arguments.scenarios
    if unknown := sorted(set(wanted) - set(SCENARIOS)):
        parser.error(f"no such scenario: {', '.join(unknown)} (expected {', '.join(SCENARIOS)})")
    with tempfile.TemporaryDirectory() as work:
        checkout = make_tiny_checkout(Path(work) / "checkout")
        ports: dict[str, int] = dict(zip(("prefect", "mlflow", "webhook", "s3"), free_ports(4), strict=True))
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        with FaultyProxy(f"http://127.0.0.1:{ports['s3']}") as proxy:
            site = prepared(checkout, ports, proxy)
            try:
                wrong, rows = print_table(Chaos(site, proxy), wanted)
            finally:
                shutil.copy(checkout / FOLDER / "worker.log", Path(tempfile.gettempdir()) / "chaos_worker.log")
                site.down()
    write_figures(arguments.json, {"scenarios": rows, "wrong": wrong})
    sys.exit(bool(wrong))


def prepared(checkout: Path, ports: dict[str, int], proxy: FaultyProxy) -> Site:
    """Services up, a champion, a bucket, and DVC's remote on it."""
    recipe = {
        "evaluation": {"k": 2}, "gate": {"margin": -1.0, "tolerance": 1.0},
        "training": {
            "steps": STEPS, "problems_per_step": 4, "algorithm": {"autonomous_rollouts": 2, "guided_rollouts": 2},
            "checkpoint_every": 5,
        },
        "storage": {"bucket": BUCKET, "endpoint_url": proxy.url},
    }  # fmt: skip
    sqlite = {
        "mlflow_uri": f"sqlite:///{checkout}/.sgpo/mlflow.db", "artifact_root": str(checkout / ".sgpo" / "mlartifacts")
    }  # fmt: skip
    path = checkout / "configs" / "testbed.yaml"
    path.write_text(yaml.safe_dump(recipe))  # `sgpo up` serves the recipe's own SQLite file
    site = Site(checkout, ports, TrackingConfig(**sqlite))
    site.up()
    # From now on the flows talk to the server, which may be taken away.
    recipe["tracking"] = {"mlflow_uri": f"http://127.0.0.1:{ports['mlflow']}", "artifact_root": sqlite["artifact_root"]}
    weekly = checkout / "configs" / "weekly.yaml"
    weekly.write_text(yaml.safe_dump(recipe))
    from boto3.session import Session

    Session().client("s3", endpoint_url=proxy.url).create_bucket(Bucket=BUCKET)
    for arguments in (
        ("remote", "add", "-f", "-d", "s3", f"s3://{BUCKET}/dvc"), ("remote", "modify", "s3", "endpointurl", proxy.url)
    ):  # fmt: skip
        site.python("-m", "dvc", *arguments)
    site.python("-m", "sgpo.cli", "world", "base-model")
    base = register_model_folder(site.tracking, checkout / "data" / "base" / "qwen2", {}, "base")
    set_champion(site.tracking, base, "chaos", "The first.")
    return site


def print_table(chaos: Chaos, wanted: list[str]) -> tuple[int, int]:
    """Run the scenarios; returns in how many something was lost or doubled, and how many there were."""
    scenarios: dict[str, Callable[[], str]] = {
        "none": lambda: "nothing",
        "worker": chaos.kill_worker,
        "flow-run": chaos.kill_flow_run,
        "server": chaos.kill_server,
        "mlflow": chaos.take_mlflow_away,
        "s3": chaos.break_s3,
    }
    print("| at step 20 of training | run | started again | seconds | lost or doubled |\n|---|---|---|---|---|")
    rows = [chaos.run(name, disturb) for name, disturb in scenarios.items() if not wanted or name in wanted]
    if not wanted or "schedule" in wanted:
        rows.append(chaos.schedule())
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    return sum(row[-1] != "nothing" or "COMPLETED" not in row[1:3] for row in rows), len(rows)


def _is_flow_run(process: psutil.Process, checkout: Path) -> bool:
    try:
        return "prefect.engine" in " ".join(process.cmdline()) and process.environ().get("PREFECT_HOME", "").startswith(
            str(checkout)
        )
    except psutil.Error:
        return False


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
