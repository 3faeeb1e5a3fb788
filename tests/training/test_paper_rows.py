"""Every line of the table in docs/objectives.md is a configuration that trains."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from sgpo.config import ConfigError, load_config
from sgpo.problems import read_problems, write_problems
from sgpo.problems.table import write_table
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.schema import StrongResponse
from sgpo.training.run import train

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"
SMALL = (
    "training.steps=1", "training.problems_per_step=3",
    "training.learning_rate=0.01", "training.sampling.max_new_tokens=6", "warmup.batch_size=4",
)  # fmt: skip


def rows() -> dict[str, list[str]]:
    table = PAGE.read_text(encoding="utf-8").split("| row | overrides |")[1].split("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|") and "---" not in line]
    return {name: re.findall(r"`([^`]+)`", overrides) for name, overrides in lines}


@pytest.fixture
def data(data_folder: Path) -> Path:
    """Splits, strategies, warm-up problems, and the strong model's responses."""
    problems = read_problems(data_folder / "splits" / "train.parquet")
    texts = {problem.id: f"strong response , the answer is {problem.answer}" for problem in problems}
    write_table(
        [StrongResponse(problem_id=key, text=text, teacher="test", prompt_version="test", attempt=1)
         for key, text in texts.items()],
        data_folder / "responses.parquet",
    )  # fmt: skip
    warmup = [problem.model_copy(update={"response": texts[problem.id]}) for problem in problems]
    write_problems(warmup, data_folder / "splits" / "warmup.parquet")
    return data_folder


def test_the_table_has_the_papers_rows_and_ablations():
    assert len(rows()) == 13
    assert (
        len({json.dumps(load_config(None, overrides).model_dump(mode="json")) for overrides in rows().values()}) == 13
    )


@pytest.mark.parametrize("name", rows())
def test_a_row_trains(name, data, model_folder, tmp_path):
    overrides = rows()[name]
    # What the row says about rollouts and steps gives way to what a test can wait for.
    small = [one for one in SMALL if name != "SFT" or "steps" not in one]
    sizes = ["training.algorithm.autonomous_rollouts=2"] if name != "SFT" else []
    if not any("type=" in one for one in overrides):
        sizes.append("training.algorithm.guided_rollouts=2")
    logged = []

    class Sink:
        def log(self, step, metrics):
            logged.append(metrics)

        def resume_at(self, step):
            pass

    config = load_config(None, [f"data={data}", *small, *overrides, *sizes])
    folder = train(config, model_folder, tmp_path / "run", nullcontext(Sink()))
    before, after = load_model(model_folder)[0].state_dict(), load_model(folder)[0].state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    # An untrained model is never right: only what learns from the strong model's own responses moves.
    moves = name in ("SFT", "HPT")
    if name != "LUFFY":  # whose entropy bonus moves it too
        assert any(not torch.equal(before[key], after[key]) for key in before) == moves
    if name in ("LUFFY", "HPT"):
        assert logged[0]["expert/fraction"] == 1.0
    if name == "LUFFY":
        assert logged[0]["loss/expert"] < 0.0  # a correct trace among wrong rollouts has a positive advantage


def test_supervised_fine_tuning_runs_in_the_same_loop_and_samples_nothing(data, model_folder, tmp_path):
    logged = []

    class Sink:
        def log(self, step, metrics):
            logged.append(metrics)

        def resume_at(self, step):
            pass

    config = load_config(None, [f"data={data}", *SMALL, "training.steps=6", "training.algorithm.type=sft"])
    folder = train(config, model_folder, tmp_path / "run", nullcontext(Sink()))
    assert logged[-1]["loss/expert"] < logged[0]["loss/expert"]
    assert logged[0]["expert/fraction"] == 1.0
    assert not any(name.startswith("reward/") for name in logged[0])
    before, after = load_model(model_folder)[0].state_dict(), load_model(folder)[0].state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_learning_from_responses_that_are_not_there_is_refused(data_folder, model_folder, tmp_path):
    write_table([], data_folder / "responses.parquet", StrongResponse)
    config = load_config(None, [f"data={data_folder}", *SMALL, "training.algorithm.type=hpt"])
    with pytest.raises(
        ConfigError, match=r"responses\.parquet: no responses for any of the 12 training problems, but HPT imitates"
    ):
        train(config, model_folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ("{type: grpo, grpo: false}", "unknown key 'training.algorithm.grpo' for type grpo, it belongs to type sgpo"),
        ("{delta: null, delta_end: 0.5}", "expected a delta to start from"),
        ("{clipping: cut}", "'training.algorithm.clipping' is 'cut'"),
        ("{type: hpt, gate: -1}", "'training.algorithm.gate' is -1"),
        ("{type: luffy, delta: 1}", "unknown key 'training.algorithm.delta' for type luffy, it belongs to type sgpo"),
        ("{type: hpt, shapping: 0.2}", "expected a key of hpt"),
        ("{type: luffy, shapping: 0.2}", "'training.algorithm.shaping' is nearest"),
        ("{type: lufy}", "'lufy' is no method (expected grpo, hpt, luffy, sft, sgpo, or package.module of your own; "
                         "'luffy' is nearest)"),
        ("{type: no.such_module}", "'no.such_module' cannot be imported"),
        ("{guided_rollouts: 0}", "'training.algorithm.guided_rollouts' is 0"),
        ("sgpo", "expected a mapping such as"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_by_key(algorithm, message):
    with pytest.raises(ConfigError) as error:
        load_config(None, [f"training.algorithm={algorithm}"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.objective.delta=2.0", "'training.objective.delta' is now 'training.algorithm.delta'"),
        (
            "training.objective.expert=luffy",
            "'training.objective.expert' is now 'training.algorithm.type', luffy or hpt",
        ),
        ("training.guided_rollouts=4", "'training.guided_rollouts' is now 'training.algorithm.guided_rollouts'"),
        ("training.mask_truncated=true", "'training.mask_truncated' is now 'training.algorithm.mask_truncated'"),
    ],
)
def test_a_recipe_of_the_old_form_fails_with_the_new_key(override, line, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
    assert str(error.value) == f"overrides: {line}"
    key, value = override.split("=")
    nested = value
    for part in reversed(key.split(".")):
        nested = f"{{{part}: {nested}}}"
    recipe = tmp_path / "old.yaml"
    recipe.write_text(nested)
    with pytest.raises(ConfigError) as error:
        load_config(recipe)
    assert str(error.value) == f"{recipe}: {line}"


def test_another_method_begins_from_its_own_defaults_not_from_the_recipes_settings(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("training: {algorithm: {type: sgpo, delta: 0.5, autonomous_rollouts: 4}, steps: 3}")
    overrides = ["training.algorithm.shaping=0.2", "training.algorithm.type=luffy"]
    training = load_config(recipe, overrides).training
    assert (training.algorithm.type, training.algorithm.autonomous_rollouts, training.steps) == ("luffy", 11, 3)
    assert training.algorithm.shaping == 0.2
    assert load_config(recipe, ["training.algorithm.type=sgpo"]).training.algorithm.delta == 0.5
