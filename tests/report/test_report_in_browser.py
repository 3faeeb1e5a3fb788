"""The report in a real browser: it asks for nothing, works by keyboard alone, and shows what the trace says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_run import make_run

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from report_walk import CHROMIUM, FLAGS, keyboard_walk, opened

from sgpo.report.page import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} (Debian's package chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # No name is resolved and nothing is reached, whatever the page tries.
        blocked = ("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, *blocked])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory, data_folder) -> Path:
    folder = make_run(tmp_path_factory.mktemp("runs") / "the-run", data_folder, trajectories=70, tokens=40)
    write_report(folder, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_nothing_is_asked_for_and_nothing_goes_wrong(browser, report, width, scheme):
    problems: list[str] = []
    page = opened(browser, report, width, scheme, problems)
    page.locator("#list button").nth(3).click()
    page.locator("#hurt").check()
    page.locator("#sort").select_option("family")
    assert problems == []
    assert page.title() == "the-run: Promoted: version 7 is the new champion"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.close()


def test_the_keyboard_reaches_every_control(browser, report):
    page = opened(browser, report, 1280, "light", [])
    assert keyboard_walk(page) == []
    page.close()


def test_masked_tokens_are_marked_and_candidates_are_shown_on_focus(browser, report):
    page = opened(browser, report, 1280, "light", [])
    masked = page.locator("#detail .tokens span.masked")
    assert masked.count() >= 1
    masked.first.hover()
    detail = page.locator(".token-detail")
    assert "masked, not distilled" in detail.inner_text()
    style = masked.first.evaluate(
        "one => getComputedStyle(one).textDecorationLine + getComputedStyle(one).outlineStyle"
    )
    assert style == "line-throughdashed"
    assert detail.locator("table").first.locator("tbody tr").count() == 8
    page.close()


def test_trajectories_are_sorted_filtered_and_shown_a_page_at_a_time(browser, report):
    page = opened(browser, report, 1280, "light", [])
    assert page.locator("#list button").count() == 60
    page.locator("#more").click()
    assert page.locator("#list button").count() == 70
    page.locator("#followed").check()
    assert page.locator("#list button").count() == 1
    page.locator("#list button").click()
    page.locator("#detail [aria-label='Measured before step'] button").nth(1).wait_for()
    page.locator("#followed").uncheck()
    page.locator("#tier").select_option("tier 2")
    facts = page.locator("#list .facts").all_inner_texts()
    assert facts
    assert all(" tier 2 " in one for one in facts)
    page.locator("#sort").select_option("lost")
    assert page.locator("#count").inner_text().endswith("of 70")
    page.close()


def test_all_answers_stand_side_by_side_with_their_verdicts(browser, report):
    page = opened(browser, report, 1280, "light", [])
    summaries = page.locator(".answers summary").all_inner_texts()
    assert len(summaries) == 5
    assert all(("right" in one) != ("wrong ·" in one) for one in summaries)
    assert "shown above" in summaries[-1]
    page.close()
