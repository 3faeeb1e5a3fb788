"""`python tools/report_walk.py REPORT FOLDER`: a run's report in headless Chromium, looked at and walked by keyboard.

Screenshots (light, dark, 400 px wide) in FOLDER; exits with a message where the page asks for anything on a network,
an error is logged, a control cannot be reached by Tab alone, or (with --axe FILE, `axe.min.js` of npm's axe-core) there
is a serious violation of accessibility. Needs Debian's package chromium.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync")
CONTROLS = "a[href], button:not([hidden]), select, input, summary, [tabindex='0']"
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (400, "light"), "phone-dark": (400, "dark")}


def main() -> None:
    """Look at the report in every view; exits with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        for name, (width, scheme) in VIEWS.items():
            page = opened(browser, options.report, width, scheme, problems)
            screenshots(page, options.folder, name)
            if options.axe:
                problems += [f"{name}: {line}" for line in violations(page, options.axe)]
            sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if sideways > 0:
                problems.append(f"{name}: the page scrolls {sideways} px sideways")
            page.close()
        page = opened(browser, options.report, 1280, "light", problems)
        problems += keyboard_walk(page)
        browser.close()
    for problem in problems:
        print(problem)
    sys.exit(f"{len(problems)} problems" if problems else 0)


def opened(browser: Browser, report: Path, width: int, scheme: Any, problems: list[str]) -> Page:
    """Return the page when its first trajectory is there; what it asks for or logs is a problem."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    address = report.absolute().as_uri()

    def ask(route: Any) -> None:
        if route.request.url == address or route.request.url.startswith("data:"):
            route.continue_()
        else:
            problems.append(f"asks for {route.request.url}")
            route.abort()

    page.route("**/*", ask)
    page.on("console", lambda message: problems.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    began = time.perf_counter()
    page.goto(address)
    loaded = time.perf_counter()
    if page.locator("#detail").count():
        page.locator("#detail .tokens").first.wait_for()
    ready = time.perf_counter() - began
    print(f"{width} px, {scheme}: loaded in {loaded - began:.2f} s, tokens shown after {ready:.2f} s")
    return page


def screenshots(page: Page, folder: Path, name: str) -> None:
    """Leave a picture of the page's head, and one of the viewer."""
    page.screenshot(path=folder / f"report-{name}.png")
    if page.locator("#detail .tokens").count():
        page.locator("#tokens").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('tokens').scrollIntoView()")
        page.screenshot(path=folder / f"report-tokens-{name}.png")


def violations(page: Page, axe: Path) -> list[str]:
    """Return the serious and critical violations that axe-core finds."""
    page.evaluate(axe.read_text(encoding="utf-8"))
    result = page.evaluate("axe.run()")
    for one in result["violations"]:
        print(f"axe: {one['impact']} {one['id']} ({len(one['nodes'])}): {one['help']}")
    print(f"axe: {len(result['passes'])} rules passed, {len(result['incomplete'])} to be looked at by a person")
    return [
        f"axe {one['id']}: {one['help']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in result["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def keyboard_walk(page: Page) -> list[str]:
    """Tab through the page; returns controls that are never reached, and keys that do nothing."""
    total = page.evaluate(
        f"""() => {{
            const seen = (one) => one.checkVisibility({{checkVisibilityCSS: true}});
            const all = [...document.querySelectorAll("{CONTROLS}")].filter(seen);
            all.forEach((one, at) => (one.dataset.walk = at));
            return all.length;
        }}"""
    )
    reached: set[int] = set()
    for _ in range(total + 5):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement?.dataset.walk ?? null")
        if at is not None:
            reached.add(int(at))
    missed = sorted(set(range(total)) - reached)
    print(f"keyboard: {len(reached)} of {total} controls reached by Tab alone")
    outer = "at => document.querySelector('[data-walk=\"' + at + '\"]').outerHTML"
    problems = [f"keyboard: never reached: {page.evaluate(outer, at)[:160]}" for at in missed]
    if not page.locator("#detail .tokens").count():
        return problems
    page.locator("#detail .tokens[role=listbox]").focus()
    before = page.locator(".token-detail h3").inner_text()
    for key in ("ArrowRight", "n", "p", "Home", "End"):
        page.keyboard.press(key)
        now = page.locator(".token-detail h3").inner_text()
        print(f"keyboard: {key}: {now}")
    if now == before:
        problems.append("keyboard: keys do not move in the tokens")
    page.locator("#list button").nth(1).focus()
    heading = page.locator("#detail h3").first.inner_text()
    page.keyboard.press("Enter")
    page.wait_for_timeout(400)
    if page.locator("#detail h3").first.inner_text() == heading:
        problems.append("keyboard: Enter on a trajectory does not open it")
    return problems


if __name__ == "__main__":
    main()
