"""A small study, whole: trained and measured in processes, resumed by the cell, nothing done twice."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml
from warm_python import WarmProcess

from sgpo.config import TrackingConfig
from sgpo.config.testbed import WorldConfig
from sgpo.problems import write_problems
from sgpo.study.cells import load_study
from sgpo.study.results import Results
from sgpo.testbed.world import build_split
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow

RECIPE = {
    "training": {
        "steps": 2, "problems_per_step": 3, "sampling": {"max_new_tokens": 8},
        "algorithm": {"autonomous_rollouts": 2, "guided_rollouts": 2},
    },
    "evaluation": {"sampling": {"max_new_tokens": 8}, "verifier_workers": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def study_file(tmp_path_factory, model_folder, data_folder, mlflow_database) -> Path:
    """Two rates of one method on the tuning split, then the base, that method and one that starts from its model."""
    folder = tmp_path_factory.mktemp("study")
    for split in ("tuning", "held_out"):
        problems = build_split(WorldConfig(tuning=4, held_out=4), split)
        write_problems(problems, data_folder / "problems" / f"{split}.parquet")
    recipe = copy.deepcopy(RECIPE)
    recipe["tracking"] = {"mlflow_uri": f"sqlite:///{mlflow_database}", "artifact_root": str(folder / "artifacts")}
    connect(TrackingConfig(**recipe["tracking"])).search_experiments()  # makes its tables before several ask at once
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    grid = {"worlds": ["tiny"], "families": ["qwen2"], "seeds": [0]}
    rates = {"low": ["training.learning_rate=1e-4"], "high": ["training.learning_rate=1e-2"]}
    study = {
        "recipe": str(folder / "recipe.yaml"), "results": str(folder / "results.jsonl"), "runs": str(folder / "runs"),
        "worlds": {"tiny": {"data": str(data_folder), "models": {"qwen2": str(model_folder)}, "decisions": 3}},
        "methods": {
            "base": {"train": False}, "sgpo": {},
            "again": {"start": "sgpo", "settings": ["training.algorithm.guide=frozen"]},
        },
        "tables": {
            "tuning": {**grid, "methods": ["sgpo", "again"], "split": "tuning", "variants": rates, "k": [1, 2]},
            "main": {**grid, "methods": ["base", "sgpo", "again"], "rates_from": "tuning", "k": [2]},
        },
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return folder / "study.yaml"


def command(file: Path, *options: str, expected: int = 0) -> str:
    """Run `sgpo study` as a person would."""
    arguments = ["-m", "sgpo.cli", "study", str(file), *options]
    process = WarmProcess(arguments, Path.cwd(), {**os.environ, "OMP_NUM_THREADS": "1"})
    said, _ = process.communicate(timeout=500)
    assert process.returncode == expected, said
    return said


def test_a_study_is_run_once_and_each_line_is_that_of_its_run(study_file, run_missing, sgpo):
    study = load_study(study_file)
    assert "0 of 7 cells are done" in command(study_file, "--dry-run")
    foretold = json.loads(sgpo("study", str(study_file), "--dry-run", "--json", cwd=study_file.parent).stdout)
    assert (foretold["says"], foretold["writes"]) == (["0 of 7 cells are done"], str(study.results))
    assert len(set(foretold["parts"])) == 7
    assert not study.results.exists()
    assert len(run_missing(study_file)) == 7
    results = Results(study.results)
    assert len(results.rows) == 4 * 2 + 3
    runs = sorted(path.name for path in study.runs.iterdir() if (path / "model").is_dir())
    # SGPO at two rates and at the recipe's, from which the other begins; in the main table the other begins from the
    # tuned one, whose run is that of the tuning table.
    assert [run.split("-")[2] for run in runs] == ["again"] * 3 + ["sgpo"] * 3
    tuned = {row.learning_rate for row in results.of("main") if row.method != "base"}
    assert tuned <= {1e-4, 1e-2}
    for row in results.rows:
        assert row.steps == (0 if row.method == "base" else 2)
        assert row.problems == 4
        assert (row.tokens > 0) == (row.method != "base")
    before = {file: file.stat().st_mtime_ns for file in study.runs.rglob("*") if file.is_file()}
    assert "7 of 7 cells are done" in command(study_file)
    lines = [json.loads(line) for line in study.results.read_text(encoding="utf-8").splitlines()]
    asked = ("study", str(study_file), "--table", "main", "--json")
    assert json.loads(sgpo(*asked, cwd=study_file.parent).stdout) == [row for row in lines if row["table"] == "main"]
    after = {file: file.stat().st_mtime_ns for file in study.runs.rglob("*.safetensors")}
    assert after.items() <= before.items()
    from mlflow import MlflowClient

    tracking = yaml.safe_load(study.recipe.read_text())["tracking"]["mlflow_uri"]
    client = MlflowClient(tracking)
    found = client.search_runs([client.search_experiments(filter_string="name = 'sgpo'")[0].experiment_id])
    (parent,) = [run for run in found if run.info.run_name == "study results"]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs)
    assert [artifact.path for artifact in client.list_artifacts(parent.info.run_id)] == ["results.jsonl"]


def test_what_is_missing_is_run_again_to_the_same_line(study_file, run_missing):
    study = load_study(study_file)
    lines = study.results.read_text().splitlines()
    study.results.write_text("\n".join(lines[:-1]) + "\n")
    assert run_missing(study_file) == [json.loads(lines[-1])["cell"]]
    assert study.results.read_text().splitlines() == lines


@pytest.mark.long
def test_what_another_table_has_measured_is_not_measured_again(study_file, run_missing, tmp_path):
    tree = yaml.safe_load(study_file.read_text())
    run_missing(study_file)
    measured = Path(tree["results"]).read_text().splitlines()
    tree["tables"]["again"] = {**tree["tables"]["main"], "variants": {"named": []}}
    tree |= {"results": str(tmp_path / "results.jsonl"), "runs": str(tmp_path / "runs")}
    Path(tree["results"]).write_text("\n".join(measured) + "\n")
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    command(file, "--table", "again")
    rows = [json.loads(line) for line in Path(tree["results"]).read_text().splitlines()]
    main, again = ([row for row in rows if row["table"] == table] for table in ("main", "again"))
    named = {"table": "again", "variant": "named"}
    expected = [row | named | {"cell": f"again/tiny/qwen2/{row['method']}/named/0"} for row in main]
    assert len(again) == len(expected) == 3
    assert all(row in expected for row in again)
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["study"]  # nothing was trained or evaluated


def test_a_study_that_is_asked_to_end_leaves_no_process_and_a_checkpoint_from_which_it_resumes(study_file, tmp_path):
    tree = yaml.safe_load(study_file.read_text())
    tree |= {"results": str(tmp_path / "results.jsonl"), "runs": str(tmp_path / "runs")}
    tree["methods"] = {"sgpo": {"settings": ["training.steps=100000", "training.stop_after_equal_steps=null"]}}
    tree["tables"] = {"main": {**tree["tables"]["main"], "methods": ["sgpo"], "rates_from": None}}
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    study = WarmProcess(["-m", "sgpo.cli", "study", str(file)], tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 200
    while not [rows for rows in (tmp_path / "runs").glob("tiny-*/metrics.jsonl") if rows.stat().st_size]:
        assert time.monotonic() < deadline, study.communicate(timeout=0)
        time.sleep(0.1)
    (training,) = psutil.Process(study.pid).children()
    study.send_signal(signal.SIGTERM)
    said, _ = study.communicate(timeout=100)
    assert study.returncode == 130, said
    assert not training.is_running()
    assert list((tmp_path / "runs").glob("tiny-*/checkpoints/step-*"))
    assert not (tmp_path / "results.jsonl").exists()


@pytest.mark.long
def test_a_cell_that_fails_is_one_line_and_the_others_results_stay(study_file, tmp_path):
    tree = yaml.safe_load(study_file.read_text())
    tree["results"] = str(tmp_path / "results.jsonl")
    tree["methods"]["broken"] = {"settings": ["training.algorithm.type=luffy"]}
    tree["tables"] = {"main": {**tree["tables"]["main"], "methods": ["base", "broken"], "rates_from": None}}
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    said = command(file, expected=1)
    assert "train.log: " in said
    assert "responses.parquet" in said
    assert "Traceback" not in said
    assert [row.method for row in Results(tmp_path / "results.jsonl").rows] == ["base"]
