"""Sampling one step ahead: how old rollouts are, that it is beside training, and that a kill loses nothing."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import HashVerifier
from test_loop import SMALL, AlwaysFinished, Interrupted, Recorder
from test_survival import AsksToStop, finish, launch, rows, stop, weights

from sgpo.config import RunConfig, load_config
from sgpo.problems import read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.bank import load_strategies
from sgpo.training.checkpoints.checkpoint import CheckpointError, newest_checkpoint
from sgpo.training.loop import Trainer
from sgpo.training.policy import Policy
from sgpo.training.recovery.interruption import PreemptedError
from sgpo.training.step import Gradient
from sgpo.training.sync import GatheredWeights
from sgpo.training.world import World

pytestmark = pytest.mark.slow

AHEAD = [*SMALL, "training.overlap=true"]


class Listening(AlwaysFinished):
    """Notes the weights that each batch is drawn from, and can say that drawing has begun."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.drawn_from: list[torch.Tensor] = []
        self.begun: threading.Semaphore | _AfterTheFirst = threading.Semaphore(0)

    def generate(self, prompts, sampling, seeds):
        self.drawn_from.append(self.model.get_input_embeddings().weight.detach().clone())
        self.begun.release()
        return super().generate(prompts, sampling, seeds)


class Run:
    """A run with an engine that has a model of its own."""

    def __init__(
        self, folder: Path, config: RunConfig, model_folder: Path, data: Path, recorder: Recorder,
        problems: int | None = None,
    ) -> None:  # fmt: skip
        model, tokenizer = load_model(model_folder)
        self.policy, self.engine = Policy(model), Listening(load_model(model_folder)[0], tokenizer)
        texts = {key: strategy.text() for key, strategy in load_strategies(data / "strategies.parquet").items()}
        self.trainer = Trainer(
            config, self.policy, Sampler(self.engine, tokenizer, HashVerifier(), texts, config.seed),
            GatheredWeights(self.policy, self.engine), World(0, 1, torch.device("cpu")), recorder, folder,
            tokenizer.pad_token_id,
        )  # fmt: skip
        self.problems = read_problems(data / "splits" / "train.parquet")[:problems]

    def train(self) -> dict[str, torch.Tensor]:
        """The weights at the end."""
        self.trainer.train(self.problems)
        return {name: value.clone() for name, value in self.policy.state_dict().items()}


def test_rollouts_are_one_step_old_but_the_first_and_say_so(tmp_path, model_folder, data_folder, monkeypatch):
    recorder, trained = Recorder(), []
    real = Gradient.minibatches
    run = Run(tmp_path, load_config(None, AHEAD), model_folder, data_folder, recorder)

    def noted(self, *arguments, **settings):
        trained.append(self.policy.model.get_input_embeddings().weight.detach().clone())
        return real(self, *arguments, **settings)

    monkeypatch.setattr(Gradient, "minibatches", noted)
    run.train()
    assert [row["policy/staleness"] for row in recorder.rows.values()] == [0.0, 1.0, 1.0, 1.0]
    drawn = run.engine.drawn_from
    assert len(drawn) == len(trained) == 4
    for step in range(4):  # what step k trains on was drawn from the weights that step k - 1 began with
        assert torch.equal(drawn[step], trained[max(0, step - 1)])
    assert not torch.equal(trained[0], trained[1])


def test_the_next_step_is_drawn_while_a_step_trains(tmp_path, model_folder, data_folder, monkeypatch):
    run = Run(tmp_path, load_config(None, AHEAD), model_folder, data_folder, Recorder())
    real, beside = Gradient.accumulate, []

    def waits(self, minibatch):
        # The next batch's drawing begins before this gradient is there.
        beside.append(run.engine.begun.acquire(timeout=60))
        return real(self, minibatch)

    run.engine.begun = _AfterTheFirst(run.engine)
    monkeypatch.setattr(Gradient, "accumulate", waits)
    run.train()
    assert beside == [True, True, True, False]  # nothing comes after the last step


class _AfterTheFirst:
    """A semaphore that counts every batch but the first; the last step does not wait for a batch that is not drawn."""

    def __init__(self, engine: Listening) -> None:
        self.engine, self.semaphore, self.waits = engine, threading.Semaphore(0), 0

    def release(self) -> None:
        if len(self.engine.drawn_from) > 1:
            self.semaphore.release()

    def acquire(self, timeout: float) -> bool:
        self.waits += 1
        return self.semaphore.acquire(timeout=timeout if self.waits < 4 else 0.0)


@pytest.mark.parametrize(("minibatches", "problems"), [(1, None), (2, None), (1, 2)])
def test_a_killed_run_goes_on_to_the_same_weights_and_metrics(
    tmp_path, model_folder, data_folder, minibatches, problems
):
    """With two problems a step of three has one of them twice, each time with rollouts of its own."""
    config = load_config(None, [*AHEAD, f"training.minibatches={minibatches}"])
    whole = Recorder()
    expected = Run(tmp_path / "whole", config, model_folder, data_folder, whole, problems).train()
    parts = Recorder()
    for last in (0, 2):
        parts.stop_after = last
        with pytest.raises(Interrupted):
            Run(tmp_path / "parts", config, model_folder, data_folder, parts, problems).train()
    parts.stop_after = None
    reached = Run(tmp_path / "parts", config, model_folder, data_folder, parts, problems).train()
    assert all(torch.equal(reached[name], expected[name]) for name in expected)
    clock = ("time/", "throughput/")
    untimed = [
        {step: {k: v for k, v in row.items() if not k.startswith(clock)} for step, row in recorder.rows.items()}
        for recorder in (whole, parts)
    ]
    assert untimed[0] == untimed[1]


def test_kept_rollouts_of_other_problems_are_refused(tmp_path, model_folder, data_folder):
    config, recorder = load_config(None, AHEAD), Recorder(stop_after=2)
    with pytest.raises(Interrupted):
        Run(tmp_path, config, model_folder, data_folder, recorder).train()
    again = Run(tmp_path, config, model_folder, data_folder, Recorder())
    again.problems = [problem.model_copy(update={"id": f"other {problem.id}"}) for problem in again.problems]
    with pytest.raises(CheckpointError, match=r"rollouts of other problems than the data now give for step \d"):
        again.train()


def test_what_was_judged_after_a_signal_is_not_kept(tmp_path, model_folder, data_folder):
    with pytest.raises(PreemptedError):
        Run(tmp_path, load_config(None, AHEAD), model_folder, data_folder, AsksToStop()).train()
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "step-000003"
    assert not list(newest.glob("rollouts-*"))
    assert list((tmp_path / "checkpoints" / "step-000002").glob("rollouts-*"))


def test_a_process_without_a_problem_takes_part_in_every_weight_update(model_folder, data_folder, tmp_path):
    """It has an empty batch, which is a batch: another push of its own would wait for the others for ever."""
    folder = tmp_path / "run"
    settings = ("training.overlap=true", "training.problems_per_step=1", "training.steps=3")
    finish(launch(2, model_folder, data_folder, folder, *settings))
    assert [row["policy/staleness"] for row in rows(folder)] == [0.0, 1.0, 1.0]


def test_two_processes_sample_ahead_and_one_goes_on_after_a_signal(model_folder, data_folder, tmp_path):
    """A signal may have reached the verifier too: what was drawn ahead is not kept, and drawn anew."""
    folder = tmp_path / "run"
    stop(signal.SIGTERM, launch(2, model_folder, data_folder, folder, "training.overlap=true"))
    newest = newest_checkpoint(folder / "checkpoints")
    assert newest is not None
    done = int(newest.name.removeprefix("step-"))
    assert 0 < done == len(rows(folder)) < 6
    kept = bool(list(newest.glob("rollouts-*")))
    finish(launch(1, model_folder, data_folder, folder, "training.overlap=true"))
    ages = [row["policy/staleness"] for row in rows(folder)]
    assert ages == [0.0 if step == 0 or (step == done and not kept) else 1.0 for step in range(6)]
    assert weights(folder)
