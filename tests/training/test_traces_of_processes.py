"""Traces of a run on two processes, its model sharded over them: the same training with and without."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_survival import finish, launch, rows, weights

pytestmark = pytest.mark.slow


def test_the_first_process_traces_and_training_is_the_same(tmp_path, model_folder, data_folder):
    settings = ("training.steps=2", "training.algorithm.guide=frozen", "training.trace.problems=2")
    for name, every in (("on", "1"), ("off", "null")):
        finish(launch(2, model_folder, data_folder, tmp_path / name, *settings, f"training.trace.every={every}"))
    assert weights(tmp_path / "on") == weights(tmp_path / "off")
    assert rows(tmp_path / "on") == rows(tmp_path / "off")
    files = sorted((tmp_path / "on" / "traces").iterdir())
    assert [file.name for file in files] == ["step-000000.jsonl", "step-000001.jsonl"]
    first, second = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert first, "the untrained model has guided responses"
    assert {row["problem_id"] for row in second if row["kind"] == "followed"} == {row["problem_id"] for row in first}
    assert not (tmp_path / "off" / "traces").exists()
