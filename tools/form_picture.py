"""`python tools/form_picture.py FILE`: Prefect's form of `retrain` with its settings open, in headless Chromium.

On a server with a database of its own; nothing is run. Leaves the picture in FILE, and beside it the form as it opens
and the page after it was sent. Exits with 1 where it sends something else than what was filled in. Needs Debian's
package chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from chromium import page_in_chromium, post, require_chromium
from playwright.sync_api import Page
from real_servers import answers, running, wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "flows"))

from site_of_services import free_ports

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = 4
CLEARED = {"training.learning_rate": "0.001", "gate.margin": "0.02"}
"""Filled in, and emptied again."""


def main() -> None:
    """Exits with 1 and a line that says why when something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where the picture is left")
    file: Path = parser.parse_args().file.absolute()
    require_chromium()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "PREFECT_HOME": work, "PREFECT_SERVER_UI_API_URL": f"{url}/api"}
        server = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with running("prefect", server, Path(work), environment, REPOSITORY):
            wait_until(lambda: answers(f"{url}/api/health"), 400, "prefect answers")
            client = {**environment, "PREFECT_API_URL": f"{url}/api"}
            for command in (
                ["work-pool", "create", "sgpo", "--type", "process"], ["--no-prompt", "deploy", "--name", "retrain"],
            ):  # fmt: skip
                subprocess.run([sys.executable, "-m", "prefect", *command], env=client, cwd=REPOSITORY, check=True)
            (deployment,) = post(f"{url}/api/deployments/filter", {"deployments": {"name": {"any_": ["retrain"]}}})
            with page_in_chromium(240_000) as page:
                page.goto(f"{url}/deployments/deployment/{deployment['id']}/run")
                page.locator("label", has_text="overrides").first.wait_for()
                page.wait_for_timeout(3000)
                page.screenshot(path=file.with_name(f"{file.stem}-closed.png"))
                open_settings(page)
                write(page, "training.steps", str(STEPS))
                for name, value in CLEARED.items():
                    write(page, name, value)
                    write(page, name, "")
                page.set_viewport_size({"width": 1280, "height": 2560})
                page.locator("label", has_text="recipe").first.scroll_into_view_if_needed()
                page.screenshot(path=file)
                page.get_by_role("button", name="Submit").click()
                page.wait_for_timeout(5000)
                page.screenshot(path=file.with_name(f"{file.stem}-sent.png"))
            runs = post(f"{url}/api/flow_runs/filter", {})
            if not runs:
                sys.exit(f"the form was not sent: {file.stem}-sent.png says why")
            print(json.dumps(runs[0]["parameters"]))
            sent = runs[0]["parameters"]["settings"]
            filled = {name: value for card in sent.values() for name, value in card.items()}
            if filled != {"training_steps": STEPS}:
                sys.exit(f"the form sends {filled} (expected the steps alone)")


def open_settings(page: Page) -> None:
    """Show the cards of the settings."""
    page.get_by_role("button", name="Change some").click()
    page.locator("label", has_text="gate.tolerance").wait_for()


def write(page: Page, setting: str, value: str) -> None:
    """Write a number into the field of a setting."""
    label = page.locator("label", has_text=setting)
    label.locator("xpath=ancestor::*[.//input][1]").locator("input").first.fill(value)


if __name__ == "__main__":
    main()
