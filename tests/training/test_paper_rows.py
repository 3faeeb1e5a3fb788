"""Every line of the table in docs/objectives.md is a configuration that trains."""

from __future__ import annotations

import json
import re
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
    "training.steps=1", "training.problems_per_step=3", "training.autonomous_rollouts=2", "training.guided_rollouts=2",
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
    kept = [one for one in overrides if "rollouts=" not in one]
    logged = []

    class Sink:
        def log(self, step, metrics):
            logged.append(metrics)

        def resume_at(self, step):
            pass

    config = load_config(None, [f"data={data}", *small, *kept])
    folder = train(config, model_folder, tmp_path / "run", Sink())
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


def test_learning_from_responses_that_are_not_there_is_refused(data_folder, model_folder, tmp_path):
    write_table([], data_folder / "responses.parquet", StrongResponse)
    config = load_config(None, [f"data={data_folder}", *SMALL, "training.objective={distillation: none, expert: hpt}"])
    with pytest.raises(ConfigError, match=r"responses\.parquet: no response for any of the 12 training problems"):
        train(config, model_folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("{grpo: false, distillation: none}", "expected at least one of them"),
        ("{grpo: false, expert: luffy}", "one of the GRPO group's members"),
        ("{delta: null, delta_end: 0.5}", "expected a delta to start from"),
        ("{clipping: cut}", "clipping"),
        ("{expert_gate: -1}", "expert_gate"),
    ],
)
def test_objectives_that_make_no_sense_are_refused_by_key(objective, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"training.objective={objective}"])
