"""Validation in training: the weights before a fall are exported, and interruptions change nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from gloo_validation import validate
from samples import ALONE, HashVerifier
from test_loop import SMALL, AlwaysFinished, Interrupted, Recorder
from test_survival import finish, launch, rows, weights

from sgpo.config import ConfigError, RunConfig, load_config
from sgpo.problems import Problem, ProblemFileError, Verdict, read_problems, write_problems
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.seeds import derive_seed
from sgpo.strategies.bank import load_strategies
from sgpo.training.best import FILE, tags_of, take_best
from sgpo.training.checkpoints import checkpoint as checkpoints
from sgpo.training.checkpoints.checkpoint import load_weights, newest_checkpoint
from sgpo.training.loop import Trainer
from sgpo.training.policy import Policy
from sgpo.training.recovery.interruption import PreemptedError
from sgpo.training.sync import GatheredWeights, SharedWeights
from sgpo.training.validation import PROBLEMS, VALIDATION_STEP, validation_problems

pytestmark = pytest.mark.slow

VALIDATED = [
    *SMALL, "training.steps=6", "training.keep_checkpoints=1", "training.validation.every=1", "training.validation.k=3",
    "evaluation.sampling.max_new_tokens=12",
]  # fmt: skip


class Planted(HashVerifier):
    """Judges training problems ever more kindly, and validation problems by `falls`, by the weights that answered."""

    falls: ClassVar = {1: 0.5, 2: 0.9, 3: 0.6, 4: 0.4, 5: 0.2, 6: 0.1}

    def __init__(self, validated_on: list[Problem]) -> None:
        self.engine: AlwaysFinished | None = None
        self.validated_on = {problem.id for problem in validated_on}
        self.calls: list[int] = []

    def score_many(self, pairs: list[tuple[str, Problem]]) -> list[Verdict]:
        assert self.engine is not None
        step = self.engine.policy_step or 0
        if pairs[0][1].id in self.validated_on:
            self.calls.append(step)
            right = round(self.falls[step] * len(pairs))
        else:
            right = round(min(1.0, 0.2 + 0.15 * step) * len(pairs))
        return [Verdict(place < right, None, "correct" if place < right else "wrong") for place in range(len(pairs))]


class Run:
    """A run that is validated on the tuning problems; ahead of the training, or with an engine that shares weights."""

    def __init__(self, folder: Path, config: RunConfig, model_folder: Path, data: Path, recorder: Recorder) -> None:
        self.folder, self.config, self.model_folder = folder, config, model_folder
        model, tokenizer = load_model(model_folder)
        own = config.training.overlap
        self.policy = Policy(model)
        validated_on = read_problems(data / PROBLEMS)
        self.verifier = Planted(validated_on)
        self.engine = AlwaysFinished(load_model(model_folder)[0] if own else model, tokenizer)
        self.verifier.engine = self.engine
        texts = {key: strategy.text() for key, strategy in load_strategies(data / "strategies.parquet").items()}
        self.trainer = Trainer(
            config, self.policy, Sampler(self.engine, tokenizer, self.verifier, texts, config.seed),
            GatheredWeights(self.policy, self.engine) if own else SharedWeights(self.engine), ALONE, recorder, folder,
            tokenizer.pad_token_id, validated_on=validated_on,
        )  # fmt: skip
        self.problems = read_problems(data / "splits" / "train.parquet")

    def train(self) -> dict[str, torch.Tensor]:
        """The weights that are exported."""
        take_best(self.policy, self.folder, self.trainer.train(self.problems), ALONE)
        return {name: value.clone() for name, value in self.policy.state_dict().items()}

    def record(self) -> dict:
        return json.loads((self.folder / FILE).read_text(encoding="utf-8"))


def untimed(recorder: Recorder) -> dict[int, dict[str, float]]:
    clock = ("time/", "throughput/")
    return {step: {k: v for k, v in row.items() if not k.startswith(clock)} for step, row in recorder.rows.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in two)


class Snapshots(Recorder):
    """The weights of every step, as its row is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: Policy | None = None
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def log(self, step: int, metrics: dict[str, float]) -> None:
        assert self.policy is not None
        self.weights[step + 1] = {name: value.clone() for name, value in self.policy.state_dict().items()}
        super().log(step, metrics)


@pytest.mark.parametrize("overlap", ["false", "true"])
def test_the_weights_before_a_fall_are_exported_though_training_rewards_rise(
    tmp_path, model_folder, data_folder, overlap, capsys
):
    recorder = Snapshots()
    config = load_config(None, [*VALIDATED, f"training.overlap={overlap}"])
    run = Run(tmp_path, config, model_folder, data_folder, recorder)
    recorder.policy = run.policy
    exported = run.train()
    rewards = [row["reward/autonomous"] for row in recorder.rows.values()]
    assert rewards == sorted(rewards)
    assert rewards[-1] > rewards[0] + 0.3
    measured = [row["validation/avg_at_k"] for row in recorder.rows.values()]
    assert measured == pytest.approx([round(12 * share) / 12 for share in Planted.falls.values()])
    assert run.verifier.calls == [1, 2, 3, 4, 5, 6]  # each by the weights of its own step
    assert same(exported, recorder.weights[2])
    assert not same(exported, recorder.weights[6])
    assert {path.name for path in (tmp_path / "checkpoints").glob("step-*")} == {"step-000002", "step-000006"}
    record = run.record()
    assert [one["step"] for one in record.pop("validations")] == [1, 2, 3, 4, 5, 6]
    assert record == {"exported_step": 2, "best_step": 2, "last_step": 6, "stopped_early": False}
    output = capsys.readouterr().out
    assert "validation after 2 steps: avg@k 91.7" in output
    assert "exported: the weights after step 2, avg@k 91.7; of 6 steps" in output


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


@pytest.mark.parametrize("overlap", ["false", "true"])
def test_an_interrupted_run_ends_as_the_undisturbed_one(tmp_path, model_folder, data_folder, overlap):
    """Each interruption is between a validation and its checkpoint."""
    config = load_config(None, [*VALIDATED, f"training.overlap={overlap}", "training.validation.patience=3"])
    whole, parts = Recorder(), Recorder()
    undisturbed = Run(tmp_path / "whole", config, model_folder, data_folder, whole)
    expected = undisturbed.train()
    assert len(whole.rows) == 5
    for last in (0, 1, 2, 4):
        parts.stop_after = last
        with pytest.raises(Interrupted):
            Run(tmp_path / "parts", config, model_folder, data_folder, parts).train()
    parts.stop_after = None
    resumed = Run(tmp_path / "parts", config, model_folder, data_folder, parts)
    assert same(resumed.train(), expected)
    assert untimed(parts) == untimed(whole)
    assert resumed.record() == undisturbed.record()


@pytest.mark.parametrize("every", [1, 2])
def test_training_stops_after_validations_without_a_new_best_and_stays_stopped(
    tmp_path, model_folder, data_folder, capsys, every
):
    config = load_config(None, [*VALIDATED, f"training.validation={{every: {every}, k: 3, patience: 2}}"])
    recorder = Recorder()
    run = Run(tmp_path, config, model_folder, data_folder, recorder)
    exported = run.train()
    last = {1: 4, 2: 6}[every]  # the best is step 2
    assert list(recorder.rows) == list(range(last))
    assert {key: run.record()[key] for key in ("exported_step", "last_step")} == {"exported_step": 2, "last_step": last}
    assert run.record()["stopped_early"] is (last < 6)
    again = Run(tmp_path, config, model_folder, data_folder, recorder)
    assert same(again.train(), exported)
    assert list(recorder.rows) == list(range(last))
    assert again.verifier.calls == []


class Terminated(Planted):
    """Gets SIGTERM while it judges the validation of step 4; what it says from then on is wrong."""

    def score_many(self, pairs: list[tuple[str, Problem]]) -> list[Verdict]:
        verdicts = super().score_many(pairs)
        if self.calls[-1:] != [4]:
            return verdicts
        os.kill(os.getpid(), signal.SIGTERM)
        return [Verdict(True, None, "correct") for _ in pairs]


@pytest.mark.parametrize("overlap", ["false", "true"])
def test_a_validation_that_a_signal_cuts_is_made_when_the_run_is_resumed(tmp_path, model_folder, data_folder, overlap):
    config = load_config(None, [*VALIDATED, f"training.overlap={overlap}"])
    whole, parts = Recorder(), Recorder()
    undisturbed = Run(tmp_path / "whole", config, model_folder, data_folder, whole)
    expected = undisturbed.train()
    cut = Run(tmp_path / "parts", config, model_folder, data_folder, parts)
    cut.verifier.__class__ = Terminated
    with pytest.raises(PreemptedError, match="preempted after 4 steps; the same command resumes from there"):
        cut.train()
    assert list(parts.rows) == [0, 1, 2]
    resumed = Run(tmp_path / "parts", config, model_folder, data_folder, parts)
    # Killed between the row that was left and its checkpoint, it makes both again.
    parts.stop_after = 3
    with pytest.raises(Interrupted):
        resumed.train()
    parts.stop_after = None
    last = Run(tmp_path / "parts", config, model_folder, data_folder, parts)
    exported = last.train()
    assert last.verifier.calls == [4, 5, 6]
    assert last.record() == undisturbed.record()
    assert same(exported, expected)
    if overlap == "false":  # what was drawn ahead of a signal is drawn anew, from newer weights
        assert untimed(parts) == untimed(whole)
    else:
        assert [row["policy/staleness"] for row in parts.rows.values()] == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]


def test_a_checkpoint_that_is_not_validated_is_never_the_best(tmp_path, model_folder, data_folder, capsys):
    """Without the one of the best step the next best that is whole is exported, and it is said."""
    config = load_config(
        None, [*VALIDATED, "training.validation.every=2", "training.checkpoint_every=1", "training.keep_checkpoints=6"]
    )
    recorder = Snapshots()
    run = Run(tmp_path, config, model_folder, data_folder, recorder)
    recorder.policy = run.policy
    run.train()
    states = {
        path.name: json.loads((path / "state.json").read_text(encoding="utf-8"))
        for path in (tmp_path / "checkpoints").glob("step-*")
    }
    assert {name for name, state in states.items() if "score" in state} == {f"step-00000{n}" for n in (2, 4, 6)}
    (shard,) = (tmp_path / "checkpoints" / "step-000002").glob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-100])
    capsys.readouterr()
    exported = Run(tmp_path, config, model_folder, data_folder, recorder).train()
    output = capsys.readouterr().out
    assert "passed over" in output
    assert "warning: no whole checkpoint of the best step 2: step 4 is exported" in output
    assert same(exported, recorder.weights[4])


def test_the_best_weights_of_a_guide_with_weights_of_its_own_are_the_policys(tmp_path, model_folder, data_folder):
    config = load_config(None, [*VALIDATED, "training.algorithm.guide=ema"])
    recorder = Snapshots()
    run = Run(tmp_path, config, model_folder, data_folder, recorder)
    recorder.policy = run.policy
    assert same(run.train(), recorder.weights[2])


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
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    program = str(Path(__file__).parent / "gloo_validation.py")
    done = subprocess.run(
        [sys.executable, *launcher, program, str(model_folder), str(data_folder), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    expected = validate(model_folder, data_folder, ALONE)
    assert 0.0 < expected["validation/avg_at_k"] < 1.0
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) == expected


def test_the_command_stops_early_and_exports_the_best_step_and_tells_the_tracker(model_folder, data_folder, tmp_path):
    """No answer of an untrained model is right, so that the first validation stays the best."""
    settings = ("training.validation={every: 2, k: 2, patience: 1}", "evaluation.sampling.max_new_tokens=8")
    folders = {processes: tmp_path / f"on-{processes}" for processes in (1, 2)}
    for processes, folder in folders.items():
        output = finish(launch(processes, model_folder, data_folder, folder, *settings))
        assert "exported: the weights after step 2, avg@k 0.0; stopped early after 4 steps" in output
        assert len(rows(folder)) == 4
        assert tags_of(folder) == {
            "sgpo.exported_step": "2", "sgpo.best_step": "2", "sgpo.last_step": "4", "sgpo.stopped_early": "true",
        }  # fmt: skip
        assert '"sgpo.exported_step": "2"' in (folder / "tracking.jsonl").read_text(encoding="utf-8")
    short = tmp_path / "short"
    finish(launch(1, model_folder, data_folder, short, "training.steps=2"))
    assert weights(folders[1]) == weights(short)
    # On two processes the checkpoint that is exported is in two shards.
    best, _ = load_model(folders[2] / "model")
    for name, value in load_model(short / "model")[0].state_dict().items():
        torch.testing.assert_close(best.state_dict()[name], value, atol=1e-5, rtol=0.0)


def test_a_full_disk_at_the_best_step_costs_the_best_step_alone(
    tmp_path, model_folder, data_folder, monkeypatch, capsys
):
    real = checkpoints.write

    def full(tensors, folder, group=None):
        if "step-000002" in folder.name:
            raise OSError(28, "No space left on device")
        real(tensors, folder, group)

    monkeypatch.setattr(checkpoints, "write", full)
    recorder = Snapshots()
    run = Run(tmp_path, load_config(None, VALIDATED), model_folder, data_folder, recorder)
    recorder.policy = run.policy
    assert same(run.train(), recorder.weights[3])
    assert run.record()["best_step"] == 2
    assert run.record()["exported_step"] == 3


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
