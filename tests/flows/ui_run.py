"""`python tests/flows/ui_run.py FOLDER`: a person's way through Prefect's UI, in headless Chromium, on real servers.

Makes a tiny checkout, runs the demo in it (a champion to train from), starts a server and a worker, deploys, fills in
the form of `retrain`, waits for the run to complete, and leaves screenshots in FOLDER. Not a test of pytest: it takes
three minutes and needs Chromium (Debian's package `chromium`).
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from tiny_checkout import TINY_OVERRIDES, environment_of, make_tiny_checkout

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
RUN_ID = "from-the-form"
OTHER_OVERRIDES = tuple(override for override in TINY_OVERRIDES if not override.startswith("training.steps="))
OPEN_GATE = ("gate.margin=-1", "gate.tolerance=1")


def main() -> None:
    """Exits with 1 and a line that says why when the run from the form does not complete."""
    if not CHROMIUM.is_file():
        sys.exit(f"{CHROMIUM}: no such program (expected Debian's package chromium)")
    screenshots = Path(sys.argv[1]).absolute()
    screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        checkout = make_tiny_checkout(Path(work) / "checkout")
        run(checkout, "flows.demo", *TINY_OVERRIDES)
        base = f"http://127.0.0.1:{_free_port()}"
        environment = {**environment_of(checkout), "PREFECT_API_URL": f"{base}/api"}
        port = base.rpartition(":")[2]
        stack.enter_context(running(checkout, environment, "server", "start", "--host", "127.0.0.1", "--port", port))
        wait_until(lambda: _answers(f"{base}/api/health"), 120, "the server answers")
        prefect(checkout, environment, "work-pool", "create", "sgpo", "--type", "process")
        prefect(checkout, environment, "--no-prompt", "deploy", "--all")
        stack.enter_context(running(checkout, environment, "worker", "start", "--pool", "sgpo"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
            drive(browser, base, screenshots, checkout / "worker.log")
            browser.close()
        summary = json.loads((checkout / "runs" / RUN_ID / "summary.json").read_text())
        steps = (checkout / "runs" / RUN_ID / "metrics.jsonl").read_text().count('"reward/autonomous"')
        if steps != 2:
            sys.exit(f"{RUN_ID} has {steps} training steps (expected the 2 of the form's field)")
        print(f"{RUN_ID}: {summary['decision']['action']}, champion {summary['champion_before']} -> "
              f"{summary['champion_after']}; screenshots in {screenshots}")  # fmt: skip


def drive(browser: Browser, base: str, screenshots: Path, log: Path) -> None:
    """Deployment -> form -> run -> artifacts, as a person clicks."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(f"{base}/deployments")
    page.get_by_text("weekly").or_(page.get_by_text("retrain", exact=True)).first.wait_for()
    page.wait_for_timeout(2000)
    page.screenshot(path=screenshots / "deployments.png")
    deployment = _post(f"{base}/api/deployments/filter", {"deployments": {"name": {"any_": ["retrain"]}}})[0]
    page.goto(f"{base}/deployments/deployment/{deployment['id']}/run")
    _field(page, "run_id").locator("textarea").fill(RUN_ID)
    page.get_by_role("button", name="FormSettings").click()
    steps = page.locator("label", has_text="training.steps").locator("xpath=ancestor::*[.//button[.='int']][1]")
    steps.get_by_role("button", name="int").click()
    steps.locator("input[type=number]").fill("2")
    for number, override in enumerate((*OTHER_OVERRIDES, *OPEN_GATE)):
        page.get_by_role("button", name="Add item").click()
        _field(page, "overrides").locator("textarea").nth(number).fill(override)
    page.set_viewport_size({"width": 1280, "height": 2350})
    page.screenshot(path=screenshots / "form.png")
    page.get_by_role("button", name="Submit").click()

    def state() -> str | None:
        runs = _post(f"{base}/api/flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}})
        return runs[0]["state_type"] if runs else None

    wait_until(lambda: state() in ("COMPLETED", "FAILED", "CRASHED"), 420, "the run ends")
    if state() != "COMPLETED":
        sys.exit(f"the run from the form is {state()} (expected COMPLETED): {log.read_text()[-3000:]}")
    (flow_run,) = _post(f"{base}/api/flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}})
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{base}/runs/flow-run/{flow_run['id']}")
    page.get_by_text("Completed").first.wait_for()
    page.wait_for_timeout(4000)
    page.screenshot(path=screenshots / "run.png")
    for key in ("summary", "retraining", "comparison"):
        artifact = _post(
            f"{base}/api/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        )
        page.goto(f"{base}/artifacts/artifact/{artifact[0]['id']}")
        page.wait_for_timeout(3000)
        page.screenshot(path=screenshots / f"artifact-{key}.png")


def run(checkout: Path, module: str, *arguments: str) -> None:
    """Run a module of the checkout; exits with its output when it fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment_of(checkout), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{module} exited with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def prefect(checkout: Path, environment: dict[str, str], *arguments: str) -> None:
    """Run Prefect's command line; exits with its output when it fails."""
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"prefect {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def running(checkout: Path, environment: dict[str, str], *arguments: str) -> Iterator[None]:
    """A server or worker of Prefect's for as long as the block lasts."""
    with (checkout / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments], cwd=checkout, env=environment, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def wait_until(condition: Any, seconds: float, what: str) -> None:
    """Poll twice a second; exits when it takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.5)


def _field(page: Page, name: str) -> Any:
    """The block of the form that belongs to a parameter."""
    label = page.locator("label", has_text=name).first
    label.wait_for()
    return label.locator("xpath=ancestor::*[.//textarea or .//button[contains(., 'Add item')]][1]")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    main()
