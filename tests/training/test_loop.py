"""The loop: interrupted and resumed it ends with the same weights; damaged checkpoints are never loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import HashVerifier

from sgpo.config import RunConfig, load_config
from sgpo.problems import Verdict, read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import ModelFolderError, load_model
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies
from sgpo.training.checkpoints.checkpoint import CheckpointError, newest_checkpoint
from sgpo.training.loop import Trainer
from sgpo.training.lora import add_adapters
from sgpo.training.order import items_of_step
from sgpo.training.policy import DivergencePart, Policy
from sgpo.training.recovery.session import STOPPED, StoppedError
from sgpo.training.step import split_samples
from sgpo.training.sync import SharedWeights
from sgpo.training.world import World

pytestmark = pytest.mark.slow

SMALL = [
    "training.steps=4", "training.problems_per_step=3",
    "training.algorithm.autonomous_rollouts=3", "training.algorithm.guided_rollouts=2",
    "training.checkpoint_every=1", "training.learning_rate=0.01", "training.sampling.max_new_tokens=12",
]  # fmt: skip


class Interrupted(Exception):
    pass


class Recorder:
    """A metrics sink that can stop the run, as a kill between two steps would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.stop_after = stop_after

    def resume_at(self, step: int) -> None:
        self.rows = {at: row for at, row in self.rows.items() if at < step}

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.rows[step] = metrics
        if step == self.stop_after:
            raise Interrupted


class AlwaysFinished(TransformersEngine):
    """Untrained models never say the end token: count responses that were cut as finished."""

    def generate(self, prompts, sampling, seeds):
        from dataclasses import replace

        return [replace(response, finish_reason="stop") for response in super().generate(prompts, sampling, seeds)]


def run(
    folder: Path, config: RunConfig, model_folder: Path, data: Path, recorder: Recorder, verifier=None
) -> dict[str, torch.Tensor]:
    model, tokenizer = load_model(model_folder)
    lora = config.training.lora
    policy = Policy(model, add_adapters(model, lora, model_folder, config.seed) if lora else None)
    texts = {key: strategy.text() for key, strategy in load_strategies(data / "strategies.parquet").items()}
    sampler = Sampler(AlwaysFinished(model, tokenizer), tokenizer, verifier or HashVerifier(), texts, config.seed)
    world = World(0, 1, torch.device("cpu"))
    trainer = Trainer(config, policy, sampler, SharedWeights(), world, recorder, folder, tokenizer.pad_token_id)
    trainer.train(read_problems(data / "splits" / "train.parquet"))
    return {name: value.clone() for name, value in policy.state_dict().items()}


@pytest.mark.parametrize("minibatches", [1, 2])
def test_a_resumed_run_ends_with_the_same_weights_and_metrics(tmp_path, model_folder, data_folder, minibatches):
    config = load_config(None, [*SMALL, f"training.minibatches={minibatches}"])
    whole = Recorder()
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole)
    parts = Recorder(stop_after=2)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", config, model_folder, data_folder, parts)
    parts.stop_after = None
    weights = run(tmp_path / "parts", config, model_folder, data_folder, parts)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    start, _ = load_model(model_folder)
    assert not torch.equal(expected["model.model.norm.weight"], start.get_decoder().norm.weight)
    untimed = [
        {
            step: {k: v for k, v in row.items() if not k.startswith(("time/", "throughput/"))}
            for step, row in r.rows.items()
        }
        for r in (whole, parts)
    ]
    assert untimed[0] == untimed[1]


def test_several_minibatches_have_ratios_other_than_one(tmp_path, model_folder, data_folder):
    recorder = Recorder()
    run(tmp_path, load_config(None, [*SMALL, "training.minibatches=3"]), model_folder, data_folder, recorder)
    assert any(row["policy/ratio_max"] > 1.0 + 1e-6 for row in recorder.rows.values())


def test_the_sampler_and_the_trainer_agree_on_the_policy(tmp_path, model_folder, data_folder):
    recorder = Recorder()
    run(tmp_path, load_config(None, SMALL), model_folder, data_folder, recorder)
    name = "policy/sampler_mismatch_kl"
    measured = [row[name] for row in recorder.rows.values() if name in row]
    assert len(measured) >= 2
    assert all(abs(value) < 1e-6 for value in measured)


class NeverRight(HashVerifier):
    def score(self, text, problem):
        return Verdict(correct=False, extracted=None, reason="wrong")


def test_rewards_that_are_all_zero_for_several_steps_raise_an_alarm(tmp_path, model_folder, data_folder, capsys):
    config = load_config(None, [*SMALL, "training.steps=6"])
    run(tmp_path, config, model_folder, data_folder, Recorder(), NeverRight())
    assert capsys.readouterr().out.count("warning: every reward was 0 for 5 steps") == 1


class LosesItsGuide(HashVerifier):
    """From the eleventh step on no guided response is right; they come after the autonomous ones of a step."""

    def score_many(self, pairs):
        guided = self.step < 10
        verdicts = super().score_many(pairs[:9])
        return [*verdicts, *(Verdict(guided, None, "correct" if guided else "wrong") for _ in pairs[9:])]

    step = 0


def test_a_guide_that_collapses_is_said_once_and_not_again_after_an_interruption(
    tmp_path, model_folder, data_folder, capsys
):
    class Steps(Recorder):
        def log(self, step, metrics):
            verifier.step = step + 1
            super().log(step, metrics)

        def resume_at(self, step):
            verifier.step = step
            super().resume_at(step)

    verifier, recorder = LosesItsGuide(), Steps(stop_after=18)
    config = load_config(None, [*SMALL, "training.steps=20", "training.sampling.max_new_tokens=4"])
    with pytest.raises(Interrupted):
        run(tmp_path, config, model_folder, data_folder, recorder, verifier)
    recorder.stop_after = None
    run(tmp_path, config, model_folder, data_folder, recorder, verifier)
    # The mean of ten steps is below one half with six steps of 0.
    assert [row["alarm/guide_collapsed"] for row in recorder.rows.values()] == [0.0] * 15 + [1.0] * 5
    output = capsys.readouterr().out
    assert output.count("warning: the guided pass rate fell from 1.00 to 0.40") == 1
    assert output.count("guided pass rate fell") == 1


def test_a_run_that_learns_nothing_stops_with_its_reason_and_resumes(tmp_path, model_folder, data_folder):
    settings = [*SMALL, "training.steps=8", "training.checkpoint_every=100"]
    config, recorder = load_config(None, [*settings, "training.stop_after_equal_steps=3"]), Recorder()
    for stopped in (3, 6):
        with pytest.raises(StoppedError, match=r"taught nothing.*resumes"):
            run(tmp_path, config, model_folder, data_folder, recorder, NeverRight())
        newest = newest_checkpoint(tmp_path / "checkpoints")
        assert newest is not None
        assert newest.name == f"step-{stopped:06d}"
    assert "taught nothing" in json.loads((tmp_path / STOPPED).read_text())["reason"]
    onwards = load_config(None, [*settings, "training.stop_after_equal_steps=null"])
    run(tmp_path, onwards, model_folder, data_folder, recorder, NeverRight())
    assert [row["alarm/equal_steps"] for row in recorder.rows.values()] == [1, 2, 3, 1, 2, 3, 1, 2]


def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_it_taken(tmp_path, model_folder, data_folder, capsys):
    config = load_config(None, SMALL)
    expected = run(tmp_path, config, model_folder, data_folder, Recorder())
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "step-000004"
    (weights_file,) = newest.glob("shard-*.safetensors")
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    again = run(tmp_path, config, model_folder, data_folder, Recorder())
    assert "passed over" in capsys.readouterr().out
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, model_folder, data_folder):
    run(tmp_path, load_config(None, SMALL), model_folder, data_folder, Recorder())
    other = load_config(None, [*SMALL, "training.algorithm.delta=2.0"])
    with pytest.raises(CheckpointError, match="another configuration"):
        run(tmp_path, other, model_folder, data_folder, Recorder())


def test_every_problem_is_seen_once_in_an_epoch_and_the_order_changes():
    items = list(range(10))
    epochs = [[item for step in range(5) for item in items_of_step(items, 2, 0, step + 5 * e)] for e in range(2)]
    assert all(sorted(epoch) == items for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert items_of_step(items, 4, 0, 2)[:2] == epochs[0][8:]


@pytest.mark.parametrize(
    ("size", "per_step"), [(10, 4), (37, 16), (600, 16), (33, 16), (12, 12), (11, 8), (3, 2), (25, 24)]
)
def test_no_problem_is_twice_in_a_step_and_none_is_left_out_of_an_epoch(size, per_step):
    items = list(range(size))
    steps = [items_of_step(items, per_step, 3, step) for step in range(4 * size // per_step)]
    assert all(len(set(step)) == per_step for step in steps)
    drawn = [item for step in steps for item in step]
    for epoch in range(len(drawn) // size):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == items


def test_fewer_problems_than_a_step_has_are_repeated():
    assert sorted(items_of_step(["a", "b"], 5, 0, 0)) in (["a", "a", "a", "b", "b"], ["a", "a", "b", "b", "b"])


@pytest.mark.parametrize("processes", [2, 3])
def test_a_minibatch_has_the_same_problems_on_any_number_of_processes(processes):
    problems = [f"p{number}" for number in range(8)]
    alone = split_samples(problems, 2, World(0, 1, torch.device("cpu")), 8)
    together = [World(rank, processes, torch.device("cpu")) for rank in range(processes)]
    parts = [split_samples(world.shard(problems), 2, world, 8) for world in together]
    for part in range(2):
        assert sorted(one for share in parts for one in share[part]) == sorted(alone[part])
        assert all(share[part] for share in parts)  # and every process has its part of each


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_folder_with_something_missing_is_refused_by_name(tmp_path, model_folder, missing):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(ModelFolderError, match=missing.replace("model.safetensors", r"\.safetensors")):
        load_model(folder)


def test_the_tokenizer_is_the_one_in_the_folder(model_folder, tokenizer):
    """AutoTokenizer would replace its pre-tokenizer by the architecture's, without a word."""
    _, loaded = load_model(model_folder)
    text = "First there is 42. Now lose first 5 to get 37. It stands at 37. The answer is \\boxed{37}."
    ids = loaded(text, add_special_tokens=False)["input_ids"]
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert loaded.decode(ids) == text


def test_a_gradient_that_is_not_finite_skips_the_step_and_is_counted(tmp_path, model_folder, data_folder, monkeypatch):
    real = Policy.losses

    def broken(self, batch, parts, temperature):
        losses = real(self, batch, parts, temperature)
        spoilt = [isinstance(part, DivergencePart) for part in parts]
        return tuple(loss * float("nan") if nan else loss for loss, nan in zip(losses, spoilt, strict=True))

    monkeypatch.setattr(Policy, "losses", broken)
    recorder = Recorder()
    weights = run(tmp_path, load_config(None, SMALL), model_folder, data_folder, recorder)
    start, _ = load_model(model_folder)
    skipped = [row["optim/steps_skipped"] for row in recorder.rows.values()]
    assert sum(skipped) >= 2
    assert all(torch.isfinite(value).all() for value in weights.values())
    if all(skipped):
        assert torch.equal(weights["model.model.norm.weight"], start.get_decoder().norm.weight)


@pytest.mark.parametrize("size", ["training.algorithm.autonomous_rollouts=1", "training.algorithm.guided_rollouts=1"])
def test_a_group_of_one_trains_without_a_gradient_of_its_own(tmp_path, model_folder, data_folder, size):
    recorder = Recorder()
    weights = run(tmp_path, load_config(None, [*SMALL, size]), model_folder, data_folder, recorder)
    assert all(torch.isfinite(value).all() for value in weights.values())
    if "autonomous" in size:
        assert all(row["reward/equal_groups_fraction"] == 1.0 for row in recorder.rows.values())
        assert all(row["loss/grpo"] == 0.0 for row in recorder.rows.values())


SOFT_CAPS = [(key, 30.0) for key in ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")]
SCALES = [("logits_scaling", 8.0), ("lm_head_multiplier", 0.5), ("logits_mup_width_multiplier", 24.0)]


@pytest.mark.parametrize(("key", "value"), [*SOFT_CAPS, *SCALES])
def test_a_model_that_does_more_to_its_logits_is_refused(tmp_path, model_folder, key, value):
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, key: value}), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=rf"config.json has {key} {value}"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({**config, "logits_scaling": 1.0}), encoding="utf-8")
    load_model(folder)
