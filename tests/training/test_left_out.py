"""What a run leaves out: problems that do not fit the model, and those that are excluded, in the middle of it too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from sgpo.config import ConfigError, RunConfig, load_config
from sgpo.problems import Problem, read_problems, write_problems
from sgpo.registry.provenance import lineage_of_run, note_provenance
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.training.inputs import TrainingInputs, load_inputs
from sgpo.training.left_out import record_left_out, without_left_out
from sgpo.training.order import items_of_step
from sgpo.training.recovery.origin import digest_of_what_is_computed
from sgpo.training.run import train

LONG = Problem(id="long one", question="apples " * 600, answer="7")


@pytest.fixture
def data(tmp_path: Path, data_folder: Path) -> Path:
    return Path(shutil.copytree(data_folder, tmp_path / "data"))


def settings(data: Path, *overrides: str) -> RunConfig:
    small = ["training.steps=3", "training.problems_per_step=3", "training.algorithm.autonomous_rollouts=2",
             "training.algorithm.guided_rollouts=2", "training.checkpoint_every=1", "training.log_rollouts_every=1",
             "training.sampling.max_new_tokens=8"]  # fmt: skip
    return load_config(None, [f"data={data}", *small, *overrides])


def kept(data: Path, model: Path, *overrides: str) -> tuple[list[str], dict[str, object]]:
    config = settings(data, *overrides)
    inputs, left_out = without_left_out(config, load_inputs(config), model)
    return [problem.id for problem in inputs.problems], left_out


def ids(data: Path) -> list[str]:
    return [problem.id for problem in read_problems(data / "splits" / "train.parquet")]


def test_nothing_is_left_out_of_what_fits(data: Path, model_folder: Path, tmp_path: Path) -> None:
    names, left_out = kept(data, model_folder)
    assert (names, left_out) == (ids(data), {"excluded": [], "too_long": {}})
    record_left_out(left_out, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_problems_that_do_not_fit_are_refused_by_name_or_left_out(data: Path, model_folder: Path) -> None:
    names = ids(data)
    write_problems([*read_problems(data / "splits" / "train.parquet"), LONG], data / "splits" / "train.parquet")
    with pytest.raises(PromptTooLongError) as refused:
        kept(data, model_folder)
    message = str(refused.value)
    assert message.startswith(
        f"1 of {len(names) + 1} problems, with a response, may need more than the model's 512 posi"
    )
    assert "'long one' 6" in message
    assert "training.leave_out_too_long=true" in message
    found, left_out = kept(data, model_folder, "training.leave_out_too_long=true")
    assert found == names
    assert list(left_out["too_long"]) == ["long one"]  # type: ignore[call-overload]
    assert kept(data, model_folder, "training.exclude_problems=[long one]")[0] == names


def test_a_response_to_learn_from_counts_with_its_prompt(data: Path, model_folder: Path) -> None:
    config = settings(data)
    inputs = load_inputs(config)
    first = inputs.problems[0].id
    with pytest.raises(PromptTooLongError, match=f"1 of .*: '{first}' "):
        without_left_out(config, TrainingInputs(inputs.problems, {}, {first: "apples " * 600}), model_folder)


def test_an_id_that_is_no_problem_is_refused_with_the_nearest_one(data: Path, model_folder: Path) -> None:
    name = ids(data)[0]
    with pytest.raises(ConfigError) as refused:
        kept(data, model_folder, f"training.exclude_problems=['{name}x']")
    assert str(refused.value) == (
        f"training.exclude_problems: '{name}x' is no training problem (did you mean '{name}'? expected ids of "
        f"{data}/splits/train.parquet)"
    )
    with pytest.raises(
        ConfigError, match=r"no problem left to train on, all 12 are left out \(12 by training\.exclude"
    ):
        kept(data, model_folder, f"training.exclude_problems={json.dumps(ids(data))}")


def test_what_is_left_out_is_noted_once_for_each_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints" / "step-000040").mkdir(parents=True)
    for excluded in ([], ["a"], ["a"], []):
        record_left_out({"excluded": excluded, "too_long": {}}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert rows == [
        {"after_step": 40, "excluded": ["a"], "too_long": {}}, {"after_step": 40, "excluded": [], "too_long": {}},
    ]  # fmt: skip
    assert capsys.readouterr().out.count("left out: 1 problem excluded, 0 too long") == 2


class Interrupted(Exception):
    pass


class StopsAfter:
    """A metrics sink that ends the run after a step, as a kill would."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def resume_at(self, step: int) -> None: ...

    def log(self, step: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
        if step == self.step:
            raise Interrupted


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["false", "true"])
def test_a_problem_is_excluded_from_an_interrupted_run(data: Path, model_folder: Path, tmp_path: Path, overlap) -> None:
    run, config = tmp_path / "run", settings(data, f"training.overlap={overlap}")
    problems = read_problems(data / "splits" / "train.parquet")
    note_provenance(config, run)
    with pytest.raises(Interrupted):
        train(config, model_folder, run, nullcontext(StopsAfter(1)))  # step 0 is saved
    gone = items_of_step(problems, 3, config.seed, 1)[0]
    later = settings(data, f"training.overlap={overlap}", f"training.exclude_problems=['{gone.id}']")
    assert digest_of_what_is_computed(later) == digest_of_what_is_computed(config)
    note_provenance(later, run)
    train(later, model_folder, run, nullcontext(StopsAfter(None)))
    left = [problem for problem in problems if problem.id != gone.id]
    for step in (1, 2):
        (file,) = (run / "rollouts").glob(f"*{step:06d}*")
        expected = {problem.id for problem in items_of_step(left, 3, config.seed, step)}
        assert {name for name in (p.id for p in problems) if name in file.read_bytes().decode("latin-1")} == expected
    (row,) = [json.loads(line) for line in (run / "left_out.jsonl").read_text().splitlines()]
    assert row == {"after_step": 1, "excluded": [gone.id], "too_long": {}}
    assert lineage_of_run(run, "1", {}, {}).environment["resumed"] == (
        f"excluded problems was not there, then {gone.id}"
    )
