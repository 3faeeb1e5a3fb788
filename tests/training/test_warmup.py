"""SFT warm-up: learns from responses, keeps the best epoch, goes on when it was interrupted."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from sgpo.config import ConfigError, RunConfig, ShardingConfig, TrainingConfig, WarmupConfig
from sgpo.config.testbed import WorldConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.model_folder import load_model
from sgpo.testbed.stories import read
from sgpo.testbed.traces import write_trace
from sgpo.testbed.world import build_split
from sgpo.training import warmup
from sgpo.training.recovery.interruption import PreemptedError
from sgpo.training.recovery.session import StoppedError
from sgpo.training.warmup_rows import hold_out, make_contexts
from sgpo.training.world import World

ALONE = World(0, 1, torch.device("cpu"))
SETTINGS = WarmupConfig(epochs=4, batch_size=8, learning_rate=0.01, held_out_fraction=0.25)


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    import random

    chosen = []
    for problem in build_split(WorldConfig(train=24), "train"):
        ledger, plan = read(problem.question)
        trace = write_trace(ledger, plan, plan, random.Random(problem.id))
        chosen.append(problem.model_copy(update={"response": trace}))
    return chosen


def run(problems, model_folder, folder, settings=SETTINGS):
    config = RunConfig(warmup=settings, training=TrainingConfig(tokens_per_microbatch=4096))
    return warmup.warm_up(config, problems, model_folder, folder, ALONE)


def losses(output: str) -> list[float]:
    return [float(line.rsplit(" ", 1)[1]) for line in output.splitlines() if line.startswith("warm-up epoch")]


def test_the_held_out_loss_falls_and_the_best_epoch_is_kept(problems, model_folder, tmp_path, capsys):
    best = run(problems, model_folder, tmp_path)
    seen = losses(capsys.readouterr().out)
    assert len(seen) == 4
    assert min(seen) < 0.9 * seen[0]
    model, tokenizer = load_model(best)
    contexts = make_contexts(problems, {}, ChatFormat(tokenizer), SETTINGS)
    held_out = [pair.alone for pair in hold_out(SETTINGS, contexts, 0)[1]]
    kept = warmup.supervised_loss(warmup.Policy(model), held_out, 4096, ALONE, 0)
    assert kept == pytest.approx(min(seen), abs=1e-3)


def test_an_overfitted_last_epoch_is_not_the_one_that_is_kept(problems, model_folder, tmp_path, monkeypatch):
    claimed = iter([2.0, 1.0, 3.0, 4.0])
    exported = []
    monkeypatch.setattr(warmup, "supervised_loss", lambda *_: next(claimed))
    monkeypatch.setattr(warmup, "export_model", lambda model, tokenizer, weights, *_: exported.append(weights))
    run(problems, model_folder, tmp_path)
    assert len(exported) == 2


def test_an_interrupted_warm_up_ends_with_the_same_model(problems, model_folder, tmp_path, monkeypatch):
    whole = load_model(run(problems, model_folder, tmp_path / "whole"))[0].state_dict()
    real, saved = warmup.save_checkpoint, []

    def stop_after_two(*arguments, **settings):
        saved.append(real(*arguments, **settings))
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(warmup, "save_checkpoint", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(problems, model_folder, tmp_path / "parts")
    parts = load_model(run(problems, model_folder, tmp_path / "parts"))[0].state_dict()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_a_signal_in_an_epoch_saves_where_it_is_and_the_rest_is_the_same(problems, model_folder, tmp_path, monkeypatch):
    whole = load_model(run(problems, model_folder, tmp_path / "whole"))[0].state_dict()
    real, steps = warmup.optimizer_step, []

    def signalled_in_the_second_epoch(*arguments):
        steps.append(1)
        if len(steps) == 5:  # three steps an epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(warmup, "optimizer_step", signalled_in_the_second_epoch)
    with pytest.raises(PreemptedError, match="preempted in warm-up epoch 2"):
        run(problems, model_folder, tmp_path / "parts")
    parts = load_model(run(problems, model_folder, tmp_path / "parts"))[0].state_dict()
    assert len(steps) == 12
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_gradients_that_are_not_finite_end_the_warm_up(problems, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "optimizer_step", lambda *_: (float("nan"), False))
    with pytest.raises(StoppedError, match="warm-up: 5 steps in a row had a gradient that is not finite"):
        run(problems, model_folder, tmp_path)


def test_the_warm_up_is_sharded_as_the_training(problems, model_folder, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(warmup, "shard_policy", lambda policy, world, settings: seen.append(settings))
    sharding = ShardingConfig(precision="bfloat16", activation_checkpointing=True)
    config = RunConfig(warmup=WarmupConfig(epochs=1, held_out_fraction=0.25), sharding=sharding)
    warmup.warm_up(config, problems, model_folder, tmp_path, ALONE)
    assert seen == [sharding]


def test_a_problem_without_response_is_refused_by_its_id(problems, model_folder, tmp_path):
    bare = problems[0].model_copy(update={"response": None})
    with pytest.raises(ConfigError, match=bare.id):
        run([bare, *problems[1:]], model_folder, tmp_path)


def test_responses_that_do_not_fit_the_model_are_refused_by_id_or_left_out(problems, model_folder, tmp_path, capsys):
    long = problems[3].model_copy(update={"id": "a-long-one", "response": "12 apples. " * 600})
    with pytest.raises(
        PromptTooLongError, match=r"warm-up: 1 of 25 .* positions: 'a-long-one' \d+ .*leave_out_too_long"
    ):
        run([*problems, long], model_folder, tmp_path / "refused")
    short = SETTINGS.model_copy(update={"epochs": 1})
    training = TrainingConfig(tokens_per_microbatch=4096, leave_out_too_long=True)
    config = RunConfig(warmup=short, training=training)
    left_out = warmup.warm_up(config, [*problems, long], model_folder, tmp_path / "left out", ALONE)
    assert "warm-up leaves out 1 of 25 problems" in capsys.readouterr().out
    without = run(problems, model_folder, tmp_path / "without", short)
    assert (left_out / "model.safetensors").read_bytes() == (without / "model.safetensors").read_bytes()


def test_too_few_problems_to_hold_some_out_are_refused(problems, model_folder, tmp_path):
    with pytest.raises(ConfigError, match="holds out"):
        run(problems[:1], model_folder, tmp_path)
