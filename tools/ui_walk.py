"""`python tools/ui_walk.py FOLDER`: a person's way through Prefect's and MLflow's pages, in headless Chromium.

On real servers: Prefect and MLflow on Postgres; MLflow's artifacts, DVC's remote and the run's checkpoints on Ceph's
radosgw; a process worker. Fills in the form of `retrain`, waits for the run to complete, looks at the version and its
alias in MLflow; then starts a long one and cancels it by the page's own button while it trains. Leaves screenshots in
FOLDER. Not a test of pytest: it takes minutes, root, and Debian's packages chromium, postgresql, radosgw, ceph-mon,
ceph-osd and ceph-mgr.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from chromium import page_in_chromium, post, require_chromium
from form_picture import open_settings, write
from playwright.sync_api import Page
from real_servers import answers, postgres, radosgw, running, wait_until
from result_pages import picture_artifacts, picture_run, picture_runs, picture_version

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))

from site_of_services import free_ports
from tiny_checkout import environment_of, make_tiny_checkout

from sgpo.training.checkpoints.checkpoint import newest_checkpoint, verify_checkpoint

RUN_ID, LONG_RUN_ID = "from-the-form", "to-be-cancelled"
MODEL = "sgpo-testbed"
BUCKETS = ("mlflow", "dvc", "runs")
FIRST_CHAMPION = """
from pathlib import Path
from sgpo.config import load_config
from sgpo.registry import register_model_folder, set_champion
tracking = load_config("configs/testbed.yaml").tracking
set_champion(tracking, register_model_folder(tracking, Path("data/base/qwen2"), {}, "base"), "ann", "The first.")
"""


@dataclass(frozen=True)
class Servers:
    """Where they are, and the environment of their clients."""

    checkout: Path
    prefect: str
    mlflow: str
    environment: dict[str, str]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return post(f"{self.prefect}/api/{path}", body)

    def deployment(self, name: str) -> str:
        return self.post("deployments/filter", {"deployments": {"name": {"any_": [name]}}})[0]["id"]

    def newest_run(self) -> dict[str, Any] | None:
        of_retrain = {"deployment_id": {"any_": [self.deployment("retrain")]}}
        runs = self.post("flow_runs/filter", {"flow_runs": of_retrain, "sort": "START_TIME_DESC", "limit": 1})
        return runs[0] if runs else None

    def python(self, *arguments: str) -> None:
        """Run a program of the checkout; exits with its output when it fails."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(
                f"{' '.join(arguments)[:200]} exited with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
            )


def main() -> None:
    """Exits with 1 and a line that says why when something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where screenshots are left")
    screenshots: Path = parser.parse_args().folder.absolute()
    require_chromium()
    screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        servers = start_servers(Path(work), stack)
        with page_in_chromium(90_000) as page:
            retrain_from_the_form(page, servers, screenshots)
            picture_version(page, servers.mlflow, MODEL, "2", screenshots)
            picture_runs(page, servers.mlflow, servers.checkout / "runs" / RUN_ID, screenshots)
            cancel_in_training(page, servers, screenshots)
        print(f"screenshots in {screenshots}")


def start_servers(work: Path, stack: ExitStack) -> Servers:
    """Everything up, deployed, and a champion to train from."""
    checkout = make_tiny_checkout(work / "checkout")
    ports = free_ports(3)
    address = stack.enter_context(postgres(work, ports[0], "prefect", "mlflow"))
    s3 = stack.enter_context(radosgw(work, *BUCKETS))
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ports[1:])
    environment = {**environment_of(checkout), **s3, "PREFECT_API_URL": f"{prefect}/api"}
    for name, command, url, more in (
        (
            "prefect", ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports[1])],
            f"{prefect}/api/health",
            {
                "PREFECT_SERVER_UI_API_URL": f"{prefect}/api",
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{address}/prefect",
            },
        ),
        (
            "mlflow",
            [
                "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports[2]), "--workers", "1",
                "--backend-store-uri", f"postgresql+psycopg2://{address}/mlflow",
                "--default-artifact-root", "s3://mlflow", "--no-serve-artifacts",
            ],
            f"{mlflow}/health", {},
        ),
    ):  # fmt: skip
        program = [sys.executable, "-m", *command]
        own = {key: value for key, value in environment.items() if key != "PREFECT_API_URL"} | more
        stack.enter_context(running(name, program, work, own, checkout))
        wait_until(lambda url=url: answers(url), 240, f"{name} answers ({(work / f'{name}.log').read_text()[-500:]})")
    servers = Servers(checkout, prefect, mlflow, environment)
    recipe = {
        "tracking": {"mlflow_uri": mlflow, "artifact_root": "s3://mlflow", "registered_model": MODEL},
        "storage": {"bucket": "runs"}, "evaluation": {"k": 2}, "gate": {"margin": -1.0, "tolerance": 1.0},
        "training": {
            "algorithm": {"autonomous_rollouts": 2, "guided_rollouts": 2},
            "problems_per_step": 4, "checkpoint_every": 5, "steps": 3,
        },
    }  # fmt: skip
    (checkout / "configs" / "testbed.yaml").write_text(yaml.safe_dump(recipe))
    servers.python("-m", "dvc", "remote", "add", "-f", "-d", "s3", "s3://dvc")
    servers.python("-m", "dvc", "remote", "modify", "s3", "endpointurl", s3["AWS_ENDPOINT_URL_S3"])
    servers.python("-m", "sgpo.cli", "world", "base-model")
    servers.python("-c", FIRST_CHAMPION)
    servers.python("-m", "prefect", "work-pool", "create", "sgpo", "--type", "process")
    servers.python("-m", "prefect", "--no-prompt", "deploy", "--all")
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "sgpo"]
    stack.enter_context(running("worker", worker, work, environment, checkout))
    return servers


def retrain_from_the_form(page: Page, servers: Servers, screenshots: Path) -> None:
    """Deployments -> form -> run -> artifacts, as a person clicks."""
    page.goto(f"{servers.prefect}/deployments")
    page.get_by_role("link", name="retrain").first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=screenshots / "deployments.png")
    fill_in(page, servers, RUN_ID, 4)
    page.get_by_role("button", name="Submit").click()
    run = wait_for_end(servers, 600)
    if run["state_type"] != "COMPLETED":
        log = (servers.checkout.parent / "worker.log").read_text()[-3000:]
        sys.exit(f"the run from the form is {run['state_type']} (expected COMPLETED): {log}")
    picture_run(page, servers.prefect, run["name"], screenshots)
    picture_artifacts(page, servers.prefect, ("summary", "retraining", "comparison", "probe"), screenshots)
    folder = servers.checkout / "runs" / RUN_ID
    steps = (folder / "metrics.jsonl").read_text().count('"reward/autonomous"')
    if steps != 4:
        sys.exit(f"{RUN_ID} has {steps} training steps (expected the 4 of the form's field)")
    summary = json.loads((folder / "summary.json").read_text())
    print(f"{RUN_ID}: {summary['decision']['action']}, "
          f"champion {summary['champion_before']} -> {summary['champion_after']}")  # fmt: skip


def cancel_in_training(page: Page, servers: Servers, screenshots: Path) -> None:
    """A long run, cancelled by the page's button: no process is left after 30 s, and its checkpoint is whole."""
    fill_in(page, servers, LONG_RUN_ID, 100_000)
    page.get_by_role("button", name="Submit").click()
    folder = servers.checkout / "runs" / LONG_RUN_ID
    metrics = folder / "metrics.jsonl"
    wait_until(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 6, 300, f"{LONG_RUN_ID} trains")
    run = servers.newest_run()
    assert run is not None
    page.goto(f"{servers.prefect}/runs/flow-run/{run['id']}")
    page.get_by_text("Running").first.wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=screenshots / "running.png")
    training = [process for process in psutil.process_iter() if _trains(process, LONG_RUN_ID)]
    page.get_by_role("button", name="Cancel").first.click()
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "cancel.png")
    begun = time.monotonic()
    page.get_by_role("button", name="Confirm").click()
    _, alive = psutil.wait_procs(training, timeout=30)
    if alive or not training:
        sys.exit(f"{len(alive)} of {len(training)} training processes are there 30 s after the click")
    gone = time.monotonic() - begun
    run = wait_for_end(servers, 120)
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        sys.exit(f"{LONG_RUN_ID}: no checkpoint")
    verify_checkpoint(checkpoint)
    page.reload()
    page.wait_for_timeout(4000)
    page.screenshot(path=screenshots / "cancelled.png")
    print(
        f"{LONG_RUN_ID}: {run['state_type']}; processes gone {gone:.1f} s after the click, {checkpoint.name} is whole"
    )


def fill_in(page: Page, servers: Servers, run_id: str, steps: int) -> None:
    """The form of `retrain`: a run id, and the number of steps."""
    page.goto(f"{servers.prefect}/deployments/deployment/{servers.deployment('retrain')}/run")
    _field(page, "run_id").locator("textarea").fill(run_id)
    open_settings(page)
    write(page, "training.steps", str(steps))


def wait_for_end(servers: Servers, seconds: float) -> dict[str, Any]:
    """The newest run of `retrain`, when it has ended."""

    def ended() -> dict[str, Any] | None:
        run = servers.newest_run()
        return run if run and run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    return wait_until(ended, seconds, "the run ends")


def _field(page: Page, name: str) -> Any:
    """The block of the form that belongs to a parameter."""
    label = page.locator("label", has_text=name).first
    label.wait_for()
    return label.locator("xpath=ancestor::*[.//textarea or .//button[contains(., 'Add item')]][1]")


def _trains(process: psutil.Process, run_id: str) -> bool:
    try:
        return f"runs/{run_id}" in process.cmdline()
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
