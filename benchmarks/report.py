"""`python benchmarks/report.py [TRAJECTORIES] [TOKENS]`: how long a report takes to write and to open, and its size.

Of a made run of 60 steps; opened in headless Chromium (Debian's package), where a trajectory's tokens are then shown.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "report"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from made_run import make_run
from report_walk import CHROMIUM, FLAGS, opened

from sgpo.report.page import write_report


def main() -> None:
    trajectories, tokens = (int(value) for value in (*sys.argv[1:3], *("200", "1000")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as work:
        run = make_run(Path(work) / "run", Path(work) / "no-data", 60, trajectories, tokens)
        traces = sum(file.stat().st_size for file in (run / "traces").iterdir())
        began = time.perf_counter()
        write_report(run, run / "report.html")
        print(f"{trajectories} trajectories of {tokens} tokens: traces {traces / 1e6:.1f} MB")
        print(f"written in {time.perf_counter() - began:.1f} s, {(run / 'report.html').stat().st_size / 1e6:.1f} MB")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
            for _ in range(3):
                page = opened(browser, run / "report.html", 1280, "light", [])
                began = time.perf_counter()
                page.locator("#list button").nth(7).click()
                page.locator("#list button").nth(7).and_(page.locator("[aria-current='true']")).wait_for()
                heading = page.locator("#list button").nth(7).locator("span").first.inner_text()[:20]
                page.locator("#detail .context", has_text=heading).wait_for()
                print(f"another trajectory after {time.perf_counter() - began:.2f} s")
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
