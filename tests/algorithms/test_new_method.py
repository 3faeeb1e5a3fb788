"""A new method is one file: chosen by configuration, trained, resumed, and refused with its own reason."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from samples import accumulate, gradient_for, make_samples
from test_loop import SMALL, Interrupted, Recorder, run
from test_step import flat_gradient, tiny_policy

from sgpo.algorithms import registry
from sgpo.config import ConfigError, TrainingConfig, load_config
from sgpo.problems.table import write_table
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.schema import Strategy
from sgpo.training.run import train

MODULE = "tests.algorithms.frozen_guide"
CHOSEN = f"training.algorithm.type={MODULE}"


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def test_its_settings_are_checked_like_any_others():
    algorithm = load_config(None, [CHOSEN, "training.algorithm.strength=0.5"]).training.algorithm
    assert (algorithm.type, algorithm.strength, algorithm.delta) == (MODULE, 0.5, 1.0)
    with pytest.raises(ConfigError, match=r"'training\.algorithm\.strength' is -1"):
        load_config(None, [CHOSEN, "training.algorithm.strength=-1"])
    with pytest.raises(ConfigError, match=r"unknown key 'training\.algorithm\.strenght' .*strength' is nearest"):
        load_config(None, [CHOSEN, "training.algorithm.strenght=1"])


def test_the_methods_of_the_package_are_its_files():
    assert registry.names() == ("grpo", "hpt", "luffy", "sft", "sgpo")
    assert {registry.method(name).settings_class().type for name in registry.names()} == set(registry.names())


def test_a_module_without_a_method_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'sgpo\.algorithms\.rows' defines 0 subclasses of Algorithm"):
        load_config(None, ["training.algorithm.type=sgpo.algorithms.rows"])


def test_the_first_gradient_is_sgpos_and_later_ones_are_the_frozen_guides(tokenizer):
    samples = make_samples(6)
    policy = tiny_policy(tokenizer)
    start = copy.deepcopy(policy)
    live = gradient_for(policy, TrainingConfig(algorithm={"delta": None}), tokenizer.pad_token_id)
    frozen = gradient_for(policy, TrainingConfig(algorithm={"type": MODULE, "delta": None}), tokenizer.pad_token_id)

    def gradient_of(which) -> torch.Tensor:
        policy.zero_grad()
        accumulate(which, samples)
        return flat_gradient(policy)

    torch.testing.assert_close(gradient_of(frozen), gradient_of(live), atol=0.0, rtol=0.0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    assert not torch.allclose(gradient_of(frozen), gradient_of(live), atol=1e-4)
    # The plain form of Eq. 3 with the weights before the change on the guide's side.
    policy.zero_grad()
    loss = torch.zeros((), dtype=torch.float64)
    for row in frozen.minibatches(samples, 0, len(samples))[0].rows:
        if row.kind == "distillation":
            with torch.no_grad():
                guide = _log_softmax(start, row.guide, row.response)
            student = _log_softmax(policy, row.prompt, row.response)
            loss = loss + row.weight * (guide.exp() * (guide - student)).sum(-1).mean() / len(samples)
    loss.backward()
    plain = flat_gradient(policy)
    policy.zero_grad()
    accumulate(gradient_for_guide(frozen, policy, {"type": MODULE, "delta": None, "grpo": False}, tokenizer), samples)
    torch.testing.assert_close(flat_gradient(policy), plain, atol=1e-7, rtol=1e-6)


def gradient_for_guide(frozen, policy, algorithm, tokenizer):
    """Another gradient of the same policy with the guide of `frozen`."""
    other = gradient_for(policy, TrainingConfig(algorithm=algorithm), tokenizer.pad_token_id)
    other.forwards.guide = frozen.guide
    return other


def _log_softmax(policy, prompt, response) -> torch.Tensor:
    logits = policy.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 : len(prompt) + len(response) - 1], dim=-1)


def test_it_trains_and_a_resumed_run_has_the_guide_that_it_began_with(tmp_path, model_folder, data_folder):
    config = load_config(None, [*[one for one in SMALL if "algorithm" not in one], CHOSEN,
                                "training.algorithm.autonomous_rollouts=3", "training.algorithm.guided_rollouts=2",
                                "training.algorithm.delta=null"])  # fmt: skip
    whole = Recorder()
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole)
    assert sum(row["method/frozen_tokens"] for row in whole.rows.values()) > 0
    assert any(row["loss/distillation"] > 0.0 for row in whole.rows.values())
    stopped = Recorder(stop_after=1)
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    stopped.stop_after = None
    resumed = run(tmp_path / "stopped", config, model_folder, data_folder, stopped)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    start, _ = load_model(model_folder)
    assert not torch.equal(expected["model.model.norm.weight"], start.get_decoder().norm.weight)


def test_without_what_it_needs_it_is_refused_with_its_own_reason(tmp_path, model_folder, data_folder):
    table = data_folder / "strategies.parquet"
    before = table.read_bytes()
    try:
        write_table([], table, Strategy)
        config = load_config(None, [f"data={data_folder}", CHOSEN])
        with pytest.raises(ConfigError) as error:
            train(config, model_folder, tmp_path / "run")
    finally:
        table.write_bytes(before)
    assert "strategies.parquet: no strategies for any of the 12 training problems" in str(error.value)
    assert "a frozen guide has nothing to say without a strategy" in str(error.value)
    assert not (tmp_path / "run").exists()
