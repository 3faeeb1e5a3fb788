"""A study measures benchmarks beside its own problems where their files are there, and the same model once."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
import yaml

from sgpo.config.testbed import WorldConfig
from sgpo.problems import write_problems
from sgpo.study.results import Results
from sgpo.testbed.world import build_split

pytestmark = pytest.mark.slow


def test_a_benchmark_whose_file_comes_later_is_measured_then_and_alone(
    tmp_path, model_folder, data_folder, run_missing
):
    problems = build_split(WorldConfig(held_out=4), "held_out")
    write_problems(problems[:3], data_folder / "problems" / "held_out.parquet")
    recipe = {
        "evaluation": {"sampling": {"max_new_tokens": 8}, "verifier_workers": 1},
        "tracking": {"mlflow_uri": f"sqlite:///{tmp_path}/mlflow.db", "artifact_root": str(tmp_path / "artifacts")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    bench = tmp_path / "bench.parquet"
    world = {"data": str(data_folder), "models": {"qwen2": str(model_folder)}, "benchmarks": {"bench": str(bench)}}
    table = {
        "worlds": ["tiny"], "families": ["qwen2"], "methods": ["base"], "seeds": [0, 1], "k": [1, 3],
        "benchmarks": ["bench"],
    }  # fmt: skip
    study = {
        "recipe": str(tmp_path / "recipe.yaml"), "results": str(tmp_path / "results.jsonl"),
        "runs": str(tmp_path / "runs"), "worlds": {"tiny": world}, "methods": {"base": {"train": False}},
        "tables": {"main": table},
    }  # fmt: skip
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")

    names = ["main/tiny/qwen2/base/0", "main/tiny/qwen2/base/1"]
    assert run_missing(file) == names
    rows = Results(tmp_path / "results.jsonl").rows
    assert {(row.benchmark, row.problems) for row in rows} == {("own", 3)}
    assert len({row.avg for row in rows if row.k == 3}) == 1
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if path.name != "study"]  # two seeds, one measurement

    write_problems(problems, bench)
    before = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert run_missing(file) == names
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[: len(before)] == before
    added = [json.loads(line) for line in lines[len(before) :]]
    assert sorted((row["cell"], row["benchmark"], row["k"], row["problems"]) for row in added) == [
        (name, "bench", k, 4) for name in names for k in (1, 3)
    ]
    assert {row["made_of"]["problems"] for row in added}.isdisjoint(row.made_of["problems"] for row in rows)
    outcomes = [json.loads(line) for line in (folder / "bench-3.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    for row in added:
        k = row["k"]
        assert row["strict"] == row["avg"] == pytest.approx(fmean(sum(one["rewards"][:k]) / k for one in outcomes))
        assert row["lenient"] == pytest.approx(fmean(sum(one["lenient"][:k]) / k for one in outcomes))
    assert run_missing(file) == []
