"""The steps that docs/study.md names are those of the committed curves."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from study_curves import by_step, first_step, table_of  # noqa: E402

LINES = [json.loads(line) for line in (REPOSITORY / "docs/measured/study-curves.jsonl").read_text().splitlines()]


def test_a_level_is_reached_by_the_mean_of_the_last_steps():
    assert first_step([0, 0, 1, 1, 1, 1, 1], 0.5) == 5
    assert first_step([0, 0, 1, 1, 1, 1, 1], 0.9) == 7
    assert first_step([1, 1, 1], 0.5) is None


def test_a_step_without_a_value_has_its_neighbour_s():
    assert by_step([{}, {"a": 2.0}, {}, {"a": 4}], "a") == [2.0, 2.0, 2.0, 4.0]


def test_the_page_names_the_steps_of_the_curves():
    page = (REPOSITORY / "docs/study.md").read_text(encoding="utf-8")
    ours, grpo = re.search(r"at step ([\d, and]+) with sgpo, and at ([\d, and]+) with GRPO", page).groups()
    rows = [line.split("|") for line in table_of(LINES, "qwen2").splitlines()[2:6]]
    columns = {name: [row[place].split()[0] for row in rows] for name, place in (("grpo", 2), ("sgpo", 3))}
    assert re.findall(r"\d+", ours) == columns["sgpo"]
    assert re.findall(r"\d+", grpo) == columns["grpo"]
