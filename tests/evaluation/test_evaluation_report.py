"""The tables that a person reads, and what an evaluation counts as the same model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sgpo.evaluation import Outcome, score
from sgpo.evaluation.report import describe_scores, folder_digest


def test_the_table_of_scores_shows_the_mean_of_several_tiers() -> None:
    rows = [Outcome("a", "x", (1.0, 0.0)), Outcome("b", "x", (1.0, 1.0)), Outcome("c", "y", (0.0, 0.0))]
    result = score(rows, confidence=0.95, resamples=200, seed=0)
    shown = {line[:14].strip(): line[14:].split()[:2] for line in describe_scores(result).splitlines()[1:]}
    assert shown["mean of tiers"] == ["3", "37.5"]
    assert shown["all problems"] == ["3", "50.0"]
    one_tier = describe_scores(score(rows[:2], confidence=0.95, resamples=200, seed=0))
    assert "mean of tiers" not in one_tier


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_a_model_folder_is_another_one_when_a_file_that_its_answers_depend_on_changes(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = folder_digest(folder)
    (folder / name).write_text("{{ messages }}")
    changed = folder_digest(folder)
    assert changed != before
    (folder / "README.md").write_text("what nothing depends on")
    assert folder_digest(shutil.copytree(folder, tmp_path / "elsewhere")) == changed
