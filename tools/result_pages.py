"""`python tools/result_pages.py CHECKOUT FOLDER`: Prefect's and MLflow's pages of a demo, in headless Chromium.

Starts the servers of a checkout in which `make demo` has run (`sgpo up`), leaves pictures of the run, its summary, the
registered version and the runs in FOLDER, and ends the servers. Needs Debian's package chromium.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from chromium import page_in_chromium, post, require_chromium
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))

from site_of_services import free_ports

TALLER = {"width": 1280, "height": 1250}
"""Pixels in which the description of a version and its first tags fit."""


def main() -> None:
    """Exits with 1 and a line that says why when something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="where `make demo` has run")
    parser.add_argument("folder", type=Path, help="where the pictures are left")
    arguments = parser.parse_args()
    checkout, folder = arguments.checkout.absolute(), arguments.folder.absolute()
    require_chromium()
    summaries = sorted((checkout / "runs").glob("*/summary.json"))
    if not summaries:
        sys.exit(f"{checkout}: no retraining has ended there (expected one: make demo)")
    run, summary = summaries[0].parent, json.loads(summaries[0].read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(("prefect", "mlflow"), free_ports(2), strict=True))
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ports.values())
    sgpo = [sys.executable, "-m", "sgpo.cli"]
    up = [*sgpo, "up", *(part for name, port in ports.items() for part in (f"--port-{name}", str(port)))]
    subprocess.run(up, cwd=checkout, check=True)
    try:
        with page_in_chromium(90_000) as page:
            picture_run(page, prefect, f"retrain {run.name}", folder)
            picture_artifacts(page, prefect, ("summary",), folder)
            picture_version(page, mlflow, summary["registered_model"], summary["challenger_version"], folder)
            picture_runs(page, mlflow, run, folder)
    finally:
        subprocess.run([*sgpo, "down"], cwd=checkout, check=True)


def picture_run(page: Page, prefect: str, name: str, folder: Path) -> None:
    """Leave run.png, the page of the newest flow run of that name."""
    named = {"flow_runs": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = post(f"{prefect}/api/flow_runs/filter", named)
    page.goto(f"{prefect}/runs/flow-run/{run['id']}")
    page.get_by_text("Completed").first.wait_for()
    page.wait_for_timeout(4000)
    page.screenshot(path=folder / "run.png")


def picture_artifacts(page: Page, prefect: str, keys: tuple[str, ...], folder: Path) -> None:
    """Leave artifact-<key>.png of the newest artifact of each key."""
    for key in keys:
        newest = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
        (found,) = post(f"{prefect}/api/artifacts/filter", newest)
        page.goto(f"{prefect}/artifacts/artifact/{found['id']}")
        page.wait_for_timeout(3000)
        page.screenshot(path=folder / f"artifact-{key}.png")


def picture_version(page: Page, mlflow: str, model: str, version: str, folder: Path) -> None:
    """Leave mlflow-model.png and mlflow-version.png: the registered model with its aliases, and one version of it."""
    page.goto(f"{mlflow}/#/models/{model}")
    page.get_by_text("champion").first.wait_for()
    panel = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
    if panel.count():  # it takes a quarter of the page
        panel.first.click()
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "mlflow-model.png")
    page.goto(f"{mlflow}/#/models/{model}/versions/{version}")
    page.get_by_text("sgpo.git_commit").first.wait_for()
    before = page.viewport_size
    page.set_viewport_size(TALLER)
    page.wait_for_timeout(2000)
    page.screenshot(path=folder / "mlflow-version.png")
    if before is not None:
        page.set_viewport_size(before)


def picture_runs(page: Page, mlflow: str, run: Path, folder: Path) -> None:
    """Leave mlflow-runs.png and mlflow-training.png: a retraining's runs with their columns, and its training's curves.

    `run` is the retraining's folder.
    """
    parent = (run / "retraining" / "mlflow_run_id").read_text()
    training = (run / "mlflow_run_id").read_text()
    with urllib.request.urlopen(f"{mlflow}/api/2.0/mlflow/runs/get?run_id={parent}", timeout=30) as response:
        experiment = json.load(response)["run"]["info"]["experiment_id"]
    for name, path in (
        ("mlflow-runs", f"experiments/{experiment}/runs"),
        ("mlflow-training", f"experiments/{experiment}/runs/{training}/model-metrics"),
    ):
        page.goto(f"{mlflow}/#/{path}")
        page.get_by_text(run.name).first.wait_for()
        page.wait_for_timeout(6000)
        if name == "mlflow-runs":
            page.locator("[data-component-id*='runnamecellrenderer']").first.click()  # the newest one's children
            page.wait_for_timeout(2000)
        page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main()
