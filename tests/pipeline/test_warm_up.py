"""`sgpo warm-up` and what a later run makes of its model: warmed up once for the same data, again for new ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_testbed import data_folder, model_folder, tokenizer

from sgpo.checks.dry_run import of_warmup
from sgpo.config import ConfigError, RunConfig, load_config
from sgpo.config.pipeline import PipelineParams
from sgpo.pipeline import stages
from sgpo.pipeline.splits import split
from sgpo.pipeline.warm_up import warm_up_model
from sgpo.problems import read_problems, write_problems
from sgpo.problems.table import read_table, write_table
from sgpo.registry.models import model_files
from sgpo.strategies.schema import StrongResponse
from sgpo.training.run import train
from sgpo.training.warmup import RECORD, record_of

__all__ = ["data_folder", "model_folder", "tokenizer"]
pytestmark = pytest.mark.slow

PARAMS = PipelineParams.model_validate(
    {
        "splits": {"warmup_fraction": 0.5},
        "probe": {"problems": 2, "autonomous_rollouts": 1, "guided_rollouts": 1, "sampling": {"max_new_tokens": 8}},
    }
)
TINY = (
    "warmup.epochs=1", "warmup.batch_size=2", "warmup.held_out_fraction=0.34", "warmup.guided_fraction=0.5",
    "training.steps=1", "training.problems_per_step=2", "training.algorithm.autonomous_rollouts=2",
    "training.algorithm.guided_rollouts=2", "training.sampling.max_new_tokens=8",
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, data_folder: Path) -> RunConfig:
    """Settings for a data folder with problems, responses and strategies, and no probe."""
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    problems = read_problems(data / "splits" / "train.parquet")
    write_problems(problems, data / "problems" / "train.parquet")
    held_out = [problem.model_copy(update={"id": f"h-{problem.id}", "question": f"Later: {problem.question}"})
                for problem in problems[:2]]  # fmt: skip
    write_problems(held_out, data / "problems" / "held_out.parquet")
    shutil.rmtree(data / "splits")
    say(data, "")
    return load_config(None, [f"data={data}", *TINY])


def say(data: Path, more: str) -> None:
    """Give every problem a strong model's response."""
    problems = read_problems(data / "problems" / "train.parquet")
    rows = [
        StrongResponse(problem_id=problem.id, text=f"It is \\boxed{{{problem.answer}}}.{more}", teacher="t",
                       prompt_version="v", attempt=1) for problem in problems
    ]  # fmt: skip
    write_table(rows, data / "responses.parquet")


def test_a_dry_run_says_what_would_be_taught_and_writes_nothing(
    config: RunConfig, model_folder: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    twice = config.model_copy(update={"warmup": config.warmup.model_copy(update={"epochs": 2})})
    first, seconds, last = of_warmup(twice, PARAMS, model_folder, tmp_path / "warm").lines()
    assert first == f"{tmp_path / 'warm'}: 2 epochs on 6 responses"
    assert seconds.startswith("about ")
    assert last == "dry run: nothing was written"
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ConfigError, match=r"warmup\.epochs"):
        of_warmup(config, PipelineParams(), model_folder, tmp_path / "warm")
    few = config.model_copy(update={"warmup": config.warmup.model_copy(update={"held_out_fraction": 0.05})})
    with pytest.raises(ConfigError, match="6 problems and holds out 5% of them"):
        of_warmup(few, PARAMS, model_folder, tmp_path / "warm")


def test_the_warmed_up_model_is_not_warmed_up_again_unless_its_data_are_new(
    config: RunConfig, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm = warm_up_model(config, PARAMS, model_folder, tmp_path / "warm")
    assert "warm-up epoch 1/1" in capsys.readouterr().out
    assert RECORD in {file.name for file in model_files(warm)}  # the registry keeps it with the model
    before = (warm / "model.safetensors").read_bytes()
    assert warm_up_model(config, PARAMS, model_folder, tmp_path / "warm") == warm
    assert "warm-up epoch" not in capsys.readouterr().out
    assert (warm / "model.safetensors").read_bytes() == before

    stages.probe(PARAMS, config.data, tmp_path / "work", warm)
    split(PARAMS, config.data)
    for_warmup = {problem.id for problem in read_problems(config.data / "splits" / "warmup.parquet")}
    probed = {row["problem_id"] for row in _rows(config.data / "probe.parquet")}
    assert len(for_warmup) == 6
    assert not probed & for_warmup

    challenger = train(config, warm, tmp_path / "first")
    assert f"{warm}: warmed up on these 6 problems before, and not again" in capsys.readouterr().out
    assert not (tmp_path / "first" / "warmup").exists()
    assert record_of(challenger) == record_of(warm) is not None

    say(config.data, " So.")
    split(PARAMS, config.data)
    newer = train(config, challenger, tmp_path / "second")
    output = capsys.readouterr().out
    assert f"{challenger}: warmed up on other data before, and now on 6 problems" in output
    assert "warm-up epoch 1/1" in output
    assert record_of(newer) not in (None, record_of(challenger))


def test_a_warm_up_of_other_data_or_settings_starts_again(
    config: RunConfig, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm = warm_up_model(config, PARAMS, model_folder, tmp_path / "warm")
    first = record_of(warm)
    say(config.data, " So.")
    warm_up_model(config, PARAMS, model_folder, tmp_path / "warm")
    assert f"{tmp_path / 'warm'}: started again, with other data" in capsys.readouterr().out
    assert record_of(warm) != first
    slower = config.model_copy(update={"warmup": config.warmup.model_copy(update={"learning_rate": 1e-6})})
    warm_up_model(slower, PARAMS, model_folder, tmp_path / "warm")
    assert "started again, with other settings" in capsys.readouterr().out


def test_a_warm_up_without_problems_or_epochs_is_refused_before_anything_is_read(config: RunConfig, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"but splits\.warmup_fraction is 0 in params"):
        warm_up_model(config, PipelineParams(), "no model", tmp_path / "warm")
    none = config.model_copy(update={"warmup": config.warmup.model_copy(update={"epochs": 0})})
    with pytest.raises(ConfigError, match=r"warmup\.epochs is 0 \(expected at least one"):
        warm_up_model(none, PARAMS, "no model", tmp_path / "warm")
    assert not (tmp_path / "warm").exists()


def _rows(path: Path) -> list[dict]:
    from sgpo.pipeline.splits import ProbedProblem

    return [row.model_dump() for row in read_table(path, ProbedProblem)]
