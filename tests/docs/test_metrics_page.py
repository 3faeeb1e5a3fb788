"""docs/metrics.md has every name that is logged, and no other."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from samples import ALONE, accumulate, gradient_for, make_samples
from test_step import tiny_policy

from sgpo.config import TrainingConfig
from sgpo.tracking.tracker import METRICS
from sgpo.training.metrics import step_metrics

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
NAME = re.compile(r"[a-z]+(/[a-z_*]+)+")


def names_of_the_page() -> set[str]:
    """First cells of the tables, `<placeholder>` as a star."""
    cells = re.findall(r"^\| `([^`]+)` \|", PAGE, flags=re.MULTILINE)
    assert len(cells) == len(set(cells)), "a name has two rows"
    return {re.sub(r"<\w+>", "*", cell) for cell in cells}


def names_of_steps(tokenizer) -> set[str]:
    """What the steps of two methods log, with one sum of a method's own; the session's are read from the code."""
    policy, samples = tiny_policy(tokenizer), make_samples(8)
    names: set[str] = set()
    for settings in ({}, {"type": "luffy"}):
        sums = accumulate(gradient_for(policy, TrainingConfig(algorithm=settings), pad_id=0), samples)
        metrics, histograms = step_metrics(samples, sums, ALONE, len(samples), 0, 1e-6, {}, ["own"])
        names |= metrics.keys() | histograms.keys()
    assert "method/own" in names
    return names - {"method/own"} | {"method/*"}


def literals(path: Path) -> Iterator[str]:
    """String literals that look like metrics, a formatted part as a star."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        if isinstance(text, str) and NAME.fullmatch(text):
            yield text


def names_of_the_code(tokenizer) -> set[str]:
    laps = {name for path in (REPOSITORY / "sgpo" / "training").rglob("*.py") for name in literals(path)
            if name.startswith(("time/", "validation/", "alarm/", "refill/", "throughput/"))}  # fmt: skip
    elsewhere = {*literals(REPOSITORY / "flows" / "phases.py"), *literals(REPOSITORY / "sgpo/tracking/tracker.py")}
    assert {"eval/gain_low", "strategies/*_quality", "probe/*/*", "eval/*/avg_at_*"} <= elsewhere
    return names_of_steps(tokenizer) | laps | elsewhere


def test_the_page_has_the_names_that_are_logged_and_no_other(tokenizer):
    assert names_of_the_page() == names_of_the_code(tokenizer)
    assert set(METRICS) <= names_of_the_page()


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line.startswith("| `")])
def test_a_row_says_what_it_is_what_is_normal_and_what_to_do(line):
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(cells) == 4
    assert all(cells)


def test_every_name_elsewhere_on_the_page_has_a_row():
    mentioned = {name for name in re.findall(r"`([^`]+)`", PAGE) if NAME.fullmatch(name)}
    groups = {name.split("/")[0] for name in names_of_the_page()}
    assert {name for name in mentioned if name.split("/")[0] in groups} <= names_of_the_page()
