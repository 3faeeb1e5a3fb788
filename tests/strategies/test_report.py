import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from banks import PARITY, VIETA, strategy, worded_bank
from matplotlib.image import imread

from sgpo.strategies.bank import QualityBands
from sgpo.strategies.refusals import Refusal, RefusedText
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.families import find_families
from sgpo.strategies.view.report import BankReport, ReportError, summarise
from sgpo.strategies.view.report_page import render_page, write_report

REFUSALS = [
    Refusal("states_answer", "states the final answer '<17>'").of("a", "candidate", 2, "It is 17."),
    Refusal("states_answer", "states the final answer '4'").of("b", "candidate", 1, "It is 4."),
    Refusal("incomplete_ranking", "candidate 2 is scored twice").of("b", "ranking", 1, "{}"),
    Refusal("no_candidate", "all 5 candidates were refused").of("z", "problem"),
]
BANK = {
    "a": strategy("a", VIETA, 0.9),
    "b": strategy("b", PARITY, 0.7),
    "c": strategy("c", VIETA, 0.6),
    "d": strategy("d", "Think about it.", 0.2),
}


def report_on(bank: dict[str, Strategy], refusals: list[RefusedText]) -> BankReport:
    return summarise(bank, find_families(bank.values()), refusals, "strategies.parquet")


class Tags(HTMLParser):
    """Checks that every tag of a page is closed, and collects what it would load."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_has_bands_criteria_refusals_and_families() -> None:
    report = report_on(BANK, REFUSALS)
    assert report.bands == QualityBands(high=0.25, medium=0.5, low=0.25)
    assert report.criteria == pytest.approx(dict.fromkeys(("problem_type", "strategy", "steps", "no_leak"), 0.6))
    assert [(count.stage, count.reason, count.count) for count in report.refusals] == [
        ("candidate", "states_answer", 2),
        ("ranking", "incomplete_ranking", 1),
    ]
    assert report.refusals[0].example == "states the final answer '<17>'"
    assert [(count.reason, count.count) for count in report.unserved] == [("no_candidate", 1)]
    assert [family.members for family in report.families] == [("a", "c"), ("b",), ("d",)]
    assert (report.reused, report.teachers) == (0.5, ("t, prompts v1",))


def test_examples_are_typical_of_their_band_and_of_different_families() -> None:
    strategies, _ = worded_bank(200)
    bank = {item.problem_id: item for item in strategies}
    report = report_on(bank, [])
    family = {name: found.id for found in report.families for name in found.members}
    for band, low, high in (("high", 0.8, 1.0), ("medium", 0.5, 0.8), ("low", 0.0, 0.5)):
        chosen = report.examples[band]
        assert len({family[item.problem_id] for item in chosen}) == 3
        assert all(abs(item.score - (low + high) / 2) < 0.1 for item in chosen)


def test_a_band_without_strategies_has_no_examples() -> None:
    report = report_on({"a": BANK["a"]}, [])
    assert report.examples == {"high": (BANK["a"],), "medium": (), "low": ()}
    assert "none" in render_page(report)


def test_the_page_is_well_formed_escapes_texts_and_loads_nothing() -> None:
    hostile = {"x<1": strategy("x<1", "Use <script>alert(1)</script> & 'a < b'.", 0.9, problem_type="{{ 7 * 7 }}")}
    page = render_page(report_on({**BANK, **hostile}, REFUSALS))
    tags = Tags()
    tags.feed(page)
    assert (tags.open, tags.loaded) == ([], [])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#39;a &lt; b&#39;." in page
    assert "{{ 7 * 7 }}" in page
    assert "url(" not in page


def test_the_page_puts_the_bank_beside_the_paper() -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render_page(report_on(BANK, REFUSALS))))
    for row in (
        "high 0.8 and above 1 25.0 % 39.4 % -14.4",
        "medium 0.5 to 0.8 2 50.0 % 54.4 % -4.4",
        "low below 0.5 1 25.0 % 6.2 % +18.8",
    ):
        assert row in text
    for tile in ("4 strategies", "3 families", "3 texts refused", "1 problems without a strategy"):
        assert tile in text


def test_the_report_is_written_as_a_page_and_a_picture(tmp_path: Path) -> None:
    report = report_on(BANK, REFUSALS)
    page, picture = write_report(report, tmp_path / "quality")
    assert page.read_text(encoding="utf-8") == render_page(report)
    height, width, _ = imread(picture).shape
    assert width > height > 800
    assert sorted(path.name for path in (tmp_path / "quality").iterdir()) == ["report.html", "report.png"]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_can_be_drawn_of_any_bank(tmp_path: Path) -> None:
    """Nothing refused, one family, and a text with dollar signs and a letter that the font has not."""
    bank = {"a": strategy("a", "Set $x$ \\frac{ to 界 and $$.", 1.0)}
    _, picture = write_report(report_on(bank, []), tmp_path)
    assert picture.stat().st_size > 10_000


def test_the_same_bank_in_any_order_gives_the_same_page() -> None:
    backwards = dict(reversed(BANK.items()))
    assert render_page(report_on(backwards, REFUSALS)) == render_page(report_on(BANK, REFUSALS))


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(ReportError, match=r"strategies\.parquet: no strategies to report on \(expected at least one\)"):
        report_on({}, [])
