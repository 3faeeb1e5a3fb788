"""The data stages end to end on a world of a few problems and a base model of a few steps."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from sgpo.config import load_config
from sgpo.evaluation.evaluate import evaluate_model
from sgpo.evaluation.outcomes import read_outcomes
from sgpo.evaluation.report import compare_files, describe_comparison, describe_scores
from sgpo.pipeline import stages
from sgpo.pipeline.splits import ProbedProblem, split
from sgpo.problems import read_problems
from sgpo.problems.table import read_table
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.schema import KeptRollout
from sgpo.strategies.bank import load_strategies
from sgpo.training.world import World

pytestmark = pytest.mark.slow

SMALL = {
    "world": {"train": 9, "tuning": 4, "held_out": 8},
    "base_model": {"steps": 4, "hidden_size": 32, "layers": 1, "batch_size": 4},
    "probe": {"problems": 4, "autonomous_rollouts": 2, "guided_rollouts": 3, "sampling": {"max_new_tokens": 8}},
    "splits": {"warmup_fraction": 0.34},
}


@pytest.fixture(scope="module")
def params() -> stages.PipelineParams:
    return stages.PipelineParams.model_validate(SMALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory, params) -> Path:
    """The data folder after every stage."""
    data, work = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("work")
    stages.build_world(params, data)
    stages.build_base(params, data, work / "base_model")
    stages.respond(params, data, work)
    stages.extract(params, data, work)
    stages.probe(params, data, work, data / "base" / "qwen2")
    split(params, data)
    return data


def test_every_problem_trained_on_has_a_strategy_and_warm_up_has_responses(made):
    problems = read_problems(made / "problems" / "train.parquet")
    strategies = load_strategies(made / "strategies.parquet", problems)
    train = read_problems(made / "splits" / "train.parquet")
    warmup = read_problems(made / "splits" / "warmup.parquet")
    assert {problem.id for problem in (*train, *warmup)} == set(strategies)
    assert len(warmup) == round(0.34 * len(strategies))
    assert all(problem.response and "\\boxed{" in problem.response for problem in warmup)
    assert read_problems(made / "splits" / "held_out.parquet") == read_problems(made / "problems" / "held_out.parquet")


def test_the_probe_has_both_groups_of_every_problem(made):
    rollouts = read_table(made / "probe_rollouts.parquet", KeptRollout)
    assert len(rollouts) == 4 * (2 + 3)
    assert len({rollout.seed for rollout in rollouts}) == len(rollouts)
    assert all(len(rollout.logprobs) == len(rollout.token_ids) for rollout in rollouts)
    assert len(read_table(made / "probe.parquet", ProbedProblem)) == 4


def test_a_probe_that_was_interrupted_goes_on_to_the_same_bytes(made, params, tmp_path, monkeypatch):
    whole, parts, model = tmp_path / "whole", tmp_path / "parts", made / "base" / "qwen2"
    for folder in (whole, parts):
        folder.mkdir()
        for name in ("problems", "strategies.parquet"):
            (folder / name).symlink_to(made / name)
    one_at_a_time = {**SMALL["probe"], "sampling": {"max_new_tokens": 8, "batch_size": 1}}
    params = params.model_copy(update={"probe": stages.ProbeConfig.model_validate(one_at_a_time)})
    stages.probe(params, whole, tmp_path / "work", model)
    asked = _interrupted_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stages.probe(params, parts, tmp_path / "work", model)
    assert not (parts / "probe.parquet").exists()
    stages.probe(params, parts, tmp_path / "work", model)
    assert len(asked) == len(set(asked)) + 1 == 5  # only what was under way is asked again
    for name in ("probe.parquet", "probe_rollouts.parquet", "probe.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (tmp_path / "work" / "probe").exists()


def _interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The problems that are sampled from now on; the call of this number ends in KeyboardInterrupt."""
    from sgpo.rollouts.groups import Sampler

    asked, real = [], Sampler.sample

    def sample(self, problems, *arguments):
        asked.extend(problem.id for problem in problems)
        if len(asked) == call:
            raise KeyboardInterrupt
        return real(self, problems, *arguments)

    monkeypatch.setattr(Sampler, "sample", sample)
    return asked


def test_the_data_stages_are_functions_of_their_settings(made, params, tmp_path):
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    stages.build_world(params, tmp_path)
    stages.respond(params, tmp_path, tmp_path / "work")
    stages.extract(params, tmp_path, tmp_path / "work")
    for name in ("problems/train.parquet", "responses.parquet", "strategies.parquet", "strategies_refused.jsonl"):
        assert digest(tmp_path / name) == digest(made / name), name


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_an_interrupted_base_model_goes_on_to_the_same_weights(tmp_path, monkeypatch, family):
    from sgpo.config.testbed import BaseModelConfig
    from sgpo.testbed import base_model

    config = BaseModelConfig(family=family, steps=3, hidden_size=32, layers=1, batch_size=2)
    world = World(0, 1, torch.device("cpu"))
    monkeypatch.setattr(base_model, "CHECKPOINT_EVERY", 1)
    base_model.build_base_model(config, 3, tmp_path / "whole", tmp_path / "work-whole", world)
    real, calls = base_model.supervised_gradient, []

    def stop_at_the_third(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(base_model, "supervised_gradient", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        base_model.build_base_model(config, 3, tmp_path / "parts", tmp_path / "work-parts", world)
    assert not (tmp_path / "parts").exists()
    monkeypatch.setattr(base_model, "supervised_gradient", real)
    base_model.build_base_model(config, 3, tmp_path / "parts", tmp_path / "work-parts", world)
    whole, _ = load_model(tmp_path / "whole")
    parts, tokenizer = load_model(tmp_path / "parts")
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    assert tokenizer.chat_template
    assert whole.config.model_type == family


def test_an_evaluation_is_not_repeated_unless_something_changed(made, tmp_path, monkeypatch):
    from sgpo.evaluation import evaluate

    config = load_config(None, [f"data={made}", "evaluation.k=2", "evaluation.sampling.max_new_tokens=4"])
    model, output = made / "base" / "qwen2", tmp_path / "base.jsonl"
    scores = evaluate_model(config, model, output)
    assert scores.overall.problems == 8
    assert "all problems" in describe_scores(scores)
    outcomes = read_outcomes(output)
    assert outcomes is not None
    assert [len(outcome.rewards) for outcome in outcomes] == [2] * 8
    monkeypatch.setattr(evaluate, "measure", lambda *_: pytest.fail("measured again"))
    assert evaluate_model(config, model, output) == scores
    changed = load_config(None, [f"data={made}", "evaluation.k=1", "evaluation.sampling.max_new_tokens=4"])
    with pytest.raises(pytest.fail.Exception):
        evaluate_model(changed, model, output)
    comparison = compare_files(config, output, output)
    assert comparison.overall.difference.value == 0.0
    assert "challenger" in describe_comparison(comparison)


def test_an_evaluation_that_was_interrupted_goes_on_after_the_last_problem(made, tmp_path, monkeypatch):
    settings = [f"data={made}", "evaluation.k=2", "evaluation.sampling={max_new_tokens: 4, batch_size: 2}"]
    config, model = load_config(None, settings), made / "base" / "qwen2"
    whole = evaluate_model(config, model, tmp_path / "whole.jsonl")
    asked = _interrupted_at(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(config, model, tmp_path / "parts.jsonl")
    assert [path.name for path in tmp_path.glob("parts*")] == ["parts.jsonl.partial"]
    assert evaluate_model(config, model, tmp_path / "parts.jsonl") == whole
    assert len(asked) == 9
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / "parts.jsonl.partial").exists()


def test_what_is_left_of_an_evaluation_with_other_settings_is_not_used(made, tmp_path, monkeypatch):
    settings = [f"data={made}", "evaluation.sampling={max_new_tokens: 4, batch_size: 2}"]
    _interrupted_at(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(load_config(None, [*settings, "evaluation.k=2"]), made / "base" / "qwen2", tmp_path / "a.jsonl")
    again = load_config(None, [*settings, "evaluation.k=1"])
    evaluate_model(again, made / "base" / "qwen2", tmp_path / "a.jsonl")
    outcomes = read_outcomes(tmp_path / "a.jsonl")
    assert outcomes is not None
    assert [len(outcome.rewards) for outcome in outcomes] == [1] * 8
