"""`sgpo init` writes recipe, params.yaml, dvc.yaml and prefect.yaml that agree with each other, and the problems."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.local.recipe import recipe_of
from sgpo.checks.data import check_data
from sgpo.cli.main import app
from sgpo.config import ConfigError, load_config
from sgpo.config.pipeline import load_params
from sgpo.pipeline.project import ProjectError
from sgpo.problems import read_problems
from sgpo.rollouts.model_folder import ModelFolderError
from tests.rollouts.quirky_models import qwen_folder

REPOSITORY = Path(__file__).resolve().parents[2]
TAKES_NO_RECIPE = {"extract-strategies"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of a checkout that are changed, outside of any repository."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("dvc.yaml", "prefect.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A model of 512 positions and three files with fields of their own names."""
    options = ["--model", str(qwen_folder(tmp_path / "my-model")), "--question", "ask", "--answer", "gold"]
    for place, (option, number) in enumerate({"train": 30, "held-out": 40, "tuning": 8}.items()):
        rows = [{"ask": f"What is {n} and {1000 * place}?", "gold": str(n + 1000 * place)} for n in range(number)]
        file = tmp_path / f"{option}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        options += [f"--{option}", str(file)]
    return [*options, "--teacher-url", "http://127.0.0.1:9/v1", "--teacher-model", "strong"]


def init(folder: Path, arguments: list[str], *more: str) -> str:
    done = CliRunner().invoke(app, ["init", str(folder), *arguments, *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_everything_names_the_recipe_and_its_lengths(checkout: Path, arguments: list[str]) -> None:
    said = init(checkout, arguments)
    recipe = load_config(checkout / "configs" / "my-model.yaml")
    params = load_params(checkout / "params.yaml")
    assert recipe.tracking.registered_model == "sgpo-my-model"
    longest = recipe.training.sampling.max_new_tokens
    assert longest == recipe.evaluation.sampling.max_new_tokens == params.probe.sampling.max_new_tokens == 256
    assert params.probe.chat == recipe.chat
    assert (params.teacher.kind, params.teacher.model) == ("openai", "strong")
    assert recipe.training.steps * recipe.training.problems_per_step >= 3 * 30
    stages = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["responses", "strategies", "probe", "splits", "train", "evaluate"]
    for stage in ("train", "evaluate"):
        assert "--config configs/my-model.yaml" in stages[stage]["cmd"]
        assert "configs/my-model.yaml" in stages[stage]["deps"]
    for file in ("dvc.yaml", "prefect.yaml", "params.yaml"):
        assert "testbed.yaml" not in (checkout / file).read_text()
    assert recipe_of(checkout) == "configs/my-model.yaml"
    assert "Next:" in said
    assert len(read_problems(checkout / "data" / "problems" / "train.parquet")) == 30


def test_every_deployment_and_trigger_that_takes_a_recipe_gets_it(checkout: Path, arguments: list[str]) -> None:
    init(checkout, arguments)
    for deployment in yaml.safe_load((checkout / "prefect.yaml").read_text())["deployments"]:
        if deployment["name"] in TAKES_NO_RECIPE:
            continue
        assert deployment["parameters"]["recipe"] == "configs/my-model.yaml", deployment["name"]
        for trigger in deployment.get("triggers", []):
            assert trigger["parameters"]["recipe"] in ("configs/my-model.yaml", "{{ event.payload.recipe }}")


def test_the_check_finds_nothing_wrong_of_settings_with_or_without_a_warm_up(
    checkout: Path, arguments: list[str]
) -> None:
    for more in ([], ["--warmup", "--force"]):
        init(checkout, arguments, *more)
        recipe = load_config(checkout / "configs" / "my-model.yaml", [f"data={checkout / 'data'}"])
        params = load_params(checkout / "params.yaml")
        assert bool(recipe.warmup.epochs) == bool(params.splits.warmup_fraction) == bool(more)
        findings, _ = check_data(recipe, params)
        assert [finding for finding in findings if finding.verdict == "wrong"] == []


def test_a_recipe_that_is_there_is_kept_and_a_folder_of_something_else_refused(
    checkout: Path, arguments: list[str], tmp_path: Path
) -> None:
    init(checkout, arguments)
    before = (checkout / "configs" / "my-model.yaml").read_text()
    with pytest.raises(ProjectError, match="is there already"):
        init(checkout, arguments)
    assert (checkout / "configs" / "my-model.yaml").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(ProjectError, match="no checkout and not empty"):
        init(tmp_path / "other", arguments)
    with pytest.raises(ProjectError, match="no strong model"):
        init(checkout, arguments[:-4])


def test_a_model_that_is_not_there_leaves_no_clone_behind(arguments: list[str], tmp_path: Path) -> None:
    arguments[arguments.index("--model") + 1] = str(tmp_path / "no-such-model")
    with pytest.raises(ModelFolderError, match="no-such-model"):
        init(tmp_path / "new", arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_new_folder_becomes_a_clone(arguments: list[str], tmp_path: Path) -> None:
    said = init(tmp_path / "new", arguments)
    assert (tmp_path / "new" / "flows" / "retrain.py").is_file()
    assert f"cd {tmp_path / 'new'} && make setup" in said
    assert recipe_of(tmp_path / "new") == "configs/my-model.yaml"


def test_recorded_answers_are_the_teacher(checkout: Path, arguments: list[str], tmp_path: Path) -> None:
    init(checkout, arguments[:-4], "--recording", str(tmp_path / "recorded.jsonl"))
    assert load_params(checkout / "params.yaml").teacher.kind == "recorded"


def test_the_stages_find_the_recording_from_the_checkout_and_depend_on_it(
    checkout: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    init(checkout, arguments[:-4], "--recording", "recorded.jsonl")
    init(checkout, arguments[:-4], "--recording", "checkout/data/own.jsonl", "--force")
    assert load_params(checkout / "params.yaml").teacher.recording == Path("data/own.jsonl")
    stages = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]
    depending = [name for name, stage in stages.items() if "data/own.jsonl" in stage["deps"]]
    assert depending == ["responses", "strategies"]
    init(checkout, arguments[:-4], "--recording", "recorded.jsonl", "--force")
    assert load_params(checkout / "params.yaml").teacher.recording == tmp_path / "recorded.jsonl"
    deps = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]["strategies"]["deps"]
    assert deps[0] == str(tmp_path / "recorded.jsonl")
    assert "data/own.jsonl" not in deps
    said = init(checkout, ["--model", "my-model", *arguments[2:]], "--force")
    assert f"sgpo registry register {tmp_path / 'my-model'} " in said
    assert "# teacher.recording" not in (checkout / "dvc.yaml").read_text()


def test_what_is_wrong_is_a_line_and_leaves_recipe_and_params_as_they_were(
    checkout: Path, arguments: list[str], tmp_path: Path
) -> None:
    before = (checkout / "params.yaml").read_text()
    with pytest.raises(ConfigError, match=r"checkout/params.yaml: .*base_url"):
        init(checkout, [*arguments[:-3], "no-address", "--teacher-model", "strong"])
    with pytest.raises(ConfigError, match=r"checkout/configs/my-model.yaml: .*max_new_tokens"):
        init(checkout, arguments, "--force", "--max-new-tokens", "99999999")
    assert (checkout / "params.yaml").read_text() == before
    assert not (checkout / "configs" / "my-model.yaml").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="no checkout"):
        init(tmp_path / "file", arguments)
    (tmp_path / "my-model" / "config.json").write_text("{")
    with pytest.raises(ProjectError, match=r"config.json: not JSON"):
        init(checkout, arguments, "--force")
