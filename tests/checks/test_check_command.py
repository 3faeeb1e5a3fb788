"""`sgpo check` prints a table or JSON, and its exit code says whether training can begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from sgpo.cli.main import app
from sgpo.config import RunConfig, dump_config

Recipe = Callable[..., RunConfig]


def run(recipe: RunConfig, model: Path, tmp_path: Path, *arguments: str):
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_config(recipe), encoding="utf-8")
    options = ["--model", str(model), "--config", str(file), "--params", str(tmp_path / "none.yaml"), *arguments]
    return CliRunner().invoke(app, ["check", *options])


def test_a_sound_one_ends_with_0_and_one_line_a_check(recipe: Recipe, model_folder: Path, tmp_path: Path) -> None:
    done = run(recipe(), model_folder, tmp_path, "--no-sample")
    assert done.exit_code == 0, done.output
    assert "training can begin" in done.output
    assert done.output.count("ok") >= 10


def test_json_has_the_same_findings_and_an_exit_code_of_1_where_one_is_wrong(
    recipe: Recipe, model_folder: Path, tmp_path: Path
) -> None:
    done = run(recipe("training.keep_checkpoints=1000000000"), model_folder, tmp_path, "--no-sample", "--json")
    assert done.exit_code == 1
    whole = json.loads(done.stdout)
    wrong = [finding for finding in whole["findings"] if finding["verdict"] == "wrong"]
    assert [finding["what"] for finding in wrong] == ["disk"]
    assert whole["verdict"] == "wrong"
    assert wrong[0]["cure"]


def test_the_sampled_answers_are_shown_with_their_golds(recipe: Recipe, model_folder: Path, tmp_path: Path) -> None:
    done = run(recipe("training.sampling.max_new_tokens=8"), model_folder, tmp_path)
    assert done.exit_code == 1
    assert done.output.count("gold:") == 8
    assert done.output.count("autonomous, ") == done.output.count("guided, ") == 16
