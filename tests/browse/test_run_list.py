"""The runs of a folder in a table and as JSON, whatever state they are in."""

from __future__ import annotations

import json
import math
from pathlib import Path

from sgpo.browse.run_list import describe_run
from sgpo.jsonl import JsonlFile
from tests.browse.run_folders import add_run
from tests.report.made_run import comparison


def test_runs_are_listed_with_method_data_result_decision_and_size(sgpo, tmp_path: Path, model_folder: Path) -> None:
    runs = tmp_path / "runs"
    add_run(runs, "decided", 1, model_folder, retraining=True)
    add_run(runs, "alone", 2, model_folder)
    add_run(runs, "measuring", 3, model_folder, retraining=True, ended=False)
    (add_run(runs, "gave-up", 4, ended=False) / "stopped.json").write_text("{}")
    (runs / "no run").mkdir()
    (runs / "no run" / "notes.txt").write_text("mine")
    rows = json.loads(sgpo("runs", "--json", cwd=tmp_path).stdout)
    assert [(row["run_id"], row["state"]) for row in rows] == [
        ("decided", "finished"), ("alone", "finished"), ("measuring", "unfinished"), ("gave-up", "stopped"),
    ]  # fmt: skip
    gain = comparison().overall.difference
    assert rows[0]["gain"] == {"value": gain.value, "low": gain.low, "high": gain.high, "method": "bootstrap"}
    assert (rows[0]["decision"], rows[0]["version"], rows[0]["method"]) == ("promote", "7", "grpo")
    assert rows[1]["data"] == {"splits/train.parquet": "a" * 64, "strategies.parquet": "b" * 64}
    assert (rows[1]["reward"], rows[1]["gain"], rows[1]["steps"], rows[1]["planned"]) == (0.25, None, 4, 4)
    for row in rows:
        files = [path for path in (runs / row["run_id"]).rglob("*") if path.is_file()]
        assert row["size"] == sum(path.stat().st_size for path in files)
    table = sgpo("runs", "--folder", "runs", cwd=tmp_path).stdout
    assert f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})" in table
    for words in ("promoted, version 7", "aaaaaaa bbbbbbb", "reward 0.25", "4/4", "4 runs"):
        assert words in table


def test_a_reward_that_is_no_number_is_left_empty(tmp_path: Path) -> None:
    run = add_run(tmp_path / "runs", "a", 1)
    JsonlFile(run / "metrics.jsonl").append({"step": 4, "reward/autonomous": math.nan})
    assert describe_run(run).reward is None


def test_a_spoilt_run_is_a_row_and_a_missing_folder_an_error(sgpo, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.yaml").write_text(": [")
    (broken / "summary.json").write_text('{"decision": 5}')
    (row,) = json.loads(sgpo("runs", "--json", cwd=tmp_path).stdout)
    assert (row["run_id"], row["method"], row["steps"]) == ("broken", None, 0)
    assert "elsewhere: no such folder" in sgpo("runs", "--folder", "elsewhere", cwd=tmp_path).refusal()
