"""What the walks through servers' pages share: a page in headless Chromium, and a request to a server's API."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def require_chromium() -> None:
    """Exit with 1 and a line where the browser is not installed."""
    if not CHROMIUM.is_file():
        sys.exit(f"{CHROMIUM}: no such program (expected Debian's package chromium)")


@contextmanager
def page_in_chromium(timeout_ms: int) -> Iterator[Page]:
    """Yield an empty page, whose waits end after `timeout_ms`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(timeout_ms)
        yield page
        browser.close()


def post(url: str, body: dict[str, Any]) -> Any:
    """Return what the server answers to a POST of `body` as JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)
