"""Validation in training: what is measured, on which problems, and that training is the same with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gloo_validation import validate
from planted import VALIDATED, Run, Snapshots, same, untimed
from samples import ALONE, HashVerifier
from test_loop import AlwaysFinished, Recorder
from warm_python import WarmRanks

from sgpo.config import ConfigError, load_config
from sgpo.problems import Problem, ProblemFileError, read_problems, write_problems
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.seeds import derive_seed
from sgpo.training.best import FILE
from sgpo.training.checkpoints.checkpoint import load_weights, newest_checkpoint
from sgpo.training.policy import Policy
from sgpo.training.validation import PROBLEMS, VALIDATION_STEP, validation_problems

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("overlap", ["false", "true"])
def test_validation_changes_nothing_of_training(tmp_path, model_folder, data_folder, overlap):
    plain, validated = Snapshots(), Snapshots()
    for recorder, every in ((plain, "null"), (validated, "2")):
        overrides = [*VALIDATED, f"training.overlap={overlap}", f"training.validation.every={every}"]
        run = Run(tmp_path / every, load_config(None, overrides), model_folder, data_folder, recorder)
        recorder.policy = run.policy
        run.train()
    assert same(plain.weights[6], validated.weights[6])
    without = [
        {step: {k: v for k, v in row.items() if not k.startswith("validation/")} for step, row in untimed(one).items()}
        for one in (plain, validated)
    ]
    assert without[0] == without[1]
    assert [step for step, row in validated.rows.items() if "validation/avg_at_k" in row] == [1, 3, 5]
    assert not (tmp_path / "null" / FILE).exists()


def test_what_is_measured_is_what_the_same_seeds_give_by_hand(tmp_path, model_folder, data_folder):
    config = load_config(None, [*VALIDATED, "training.steps=1"])
    recorder = Recorder()
    run = Run(tmp_path, config, model_folder, data_folder, recorder)
    run.trainer.sampler.verifier = HashVerifier()
    run.train()
    tuning = read_problems(data_folder / PROBLEMS)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    model, tokenizer = load_model(model_folder)
    load_weights(newest, Policy(model))
    engine, chat = AlwaysFinished(model, tokenizer), run.trainer.sampler.chat
    rewards = []
    for problem in tuning:  # one at a time, where validation draws all at once
        seeds = [derive_seed(config.seed, VALIDATION_STEP, problem.id, "autonomous", n) for n in range(3)]
        prompt = chat.autonomous(problem.question)
        drawn = [engine.generate([prompt], config.evaluation.sampling, [seed])[0] for seed in seeds]
        texts = chat.texts([response.token_ids for response in drawn])
        rewards.append([HashVerifier().score(chat.with_thinking(text), problem).correct for text in texts])
    row = recorder.rows[0]
    assert 0.0 < row["validation/avg_at_k"] < 1.0
    assert row["validation/avg_at_k"] == pytest.approx(sum(map(sum, rewards)) / 12)
    assert row["validation/pass_at_k"] == pytest.approx(sum(map(any, rewards)) / 4)
    assert row["validation/avg_at_k_low"] <= row["validation/avg_at_k"] <= row["validation/avg_at_k_high"]


def test_several_processes_measure_what_one_does(tmp_path, model_folder, data_folder):
    """Of three processes the last has none of the two problems, and takes part."""
    program = str(Path(__file__).parent / "gloo_validation.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    three = WarmRanks(3, [program, str(model_folder), str(data_folder), str(tmp_path)], tmp_path, environment)
    output, _ = three.communicate(timeout=200)
    assert three.returncode == 0, output[-2000:]
    expected = validate(model_folder, data_folder, ALONE)
    assert 0.0 < expected["validation/avg_at_k"] < 1.0
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) == expected


@pytest.fixture
def data(data_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(data_folder, tmp_path / "data")


def chosen(data: Path, model_folder: Path, *overrides: str) -> list[Problem]:
    config = load_config(None, [f"data={data}", "training.validation.every=5", *overrides])
    return validation_problems(config, read_problems(data / "splits" / "train.parquet"), model_folder)


def test_the_problems_are_a_function_of_the_seed(data, model_folder):
    everything = read_problems(data / PROBLEMS)
    picked = [chosen(data, model_folder, "training.validation.problems=2", f"seed={seed}") for seed in (0, 0, 1, 2, 3)]
    assert picked[0] == picked[1]
    assert any(other != picked[0] for other in picked[2:])
    assert all(len(problems) == 2 and set(problems) <= set(everything) for problems in picked)
    assert {problem.id for problem in chosen(data, model_folder)} == {problem.id for problem in everything}


def test_what_cannot_be_validated_on_is_refused_before_anything_starts(data, model_folder):
    with pytest.raises(PromptTooLongError, match=r"evaluation\.sampling\.max_new_tokens below 90000"):
        chosen(data, model_folder, "evaluation.sampling.max_new_tokens=90000")
    trained = read_problems(data / "splits" / "train.parquet")
    write_problems([*read_problems(data / PROBLEMS), trained[3]], data / PROBLEMS)
    with pytest.raises(ProblemFileError, match=re.escape(f"training problems: problem '{trained[3].id}' is in")):
        chosen(data, model_folder)
    (data / PROBLEMS).unlink()
    with pytest.raises(ConfigError, match=r"tuning.parquet: no such file \(`sgpo problems import FILE --split tuning`"):
        chosen(data, model_folder)
    assert chosen(data, model_folder, "training.validation.every=null") == []


def test_patience_without_validation_is_refused():
    with pytest.raises(ConfigError, match="patience is 3 but every is null"):
        load_config(None, ["training.validation.patience=3"])
