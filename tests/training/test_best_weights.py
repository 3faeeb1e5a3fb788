"""Validation: the weights before a fall are exported, training stops early, and interruptions change nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from planted import VALIDATED, Planted, Run, Snapshots, same, untimed
from test_loop import Interrupted, Recorder
from test_survival import finish, launch, rows, weights

from sgpo.config import load_config
from sgpo.problems import Problem, Verdict
from sgpo.rollouts.model_folder import load_model
from sgpo.training.best import tags_of
from sgpo.training.checkpoints import checkpoint as checkpoints
from sgpo.training.recovery.interruption import PreemptedError

pytestmark = pytest.mark.slow


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
