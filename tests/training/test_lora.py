"""LoRA: the adapters alone are trained, and what is sampled, saved and exported is the model with them merged in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))

from greedy import PROMPTS, greedy_answers, until_end
from plain_objective import plain_loss
from samples import make_samples
from test_loop import SMALL, Interrupted, Recorder, run
from test_step import flat_gradient, gradient_of, tiny_policy
from test_survival import finish, launch, rows

from sgpo.config import ConfigError, LoraConfig, SamplingConfig, TrainingConfig, load_config
from sgpo.rollouts.export import export_model
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.checkpoints.checkpoint import CheckpointError, newest_checkpoint
from sgpo.training.lora import adapter_tensors, add_adapters, export_adapter, merged_tensors
from sgpo.training.policy import Policy
from sgpo.training.sharding import whole_weights
from sgpo.training.sync import GatheredWeights

pytestmark = pytest.mark.slow

LORA = LoraConfig(rank=4, alpha=8)
SETTINGS = [*SMALL, "training.lora.rank=4", "training.lora.alpha=8"]


def adapted_policy(tokenizer, family: str = "qwen2") -> Policy:
    """The tests' tiny policy with adapters that do something."""
    policy = tiny_policy(tokenizer, family)
    policy.base = add_adapters(policy.model, LORA, "tiny", seed=3)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return policy


def test_the_merged_model_computes_what_the_adapted_one_does(tokenizer, family):
    adapted, plain = adapted_policy(tokenizer, family), tiny_policy(tokenizer, family)
    ids = torch.arange(6, 46).reshape(2, 20)
    before = plain.model(ids).logits
    plain.model.load_state_dict(dict(merged_tensors(adapted.model)), strict=False)
    after = plain.model(ids).logits
    # transformers' norms compute in float32 whatever the model's dtype.
    torch.testing.assert_close(after, adapted.model(ids).logits, atol=1e-5, rtol=0.0)
    assert (after - before).abs().max() > 0.1


def test_merged_tensors_are_all_of_the_plain_models(tokenizer, family):
    adapted, plain = adapted_policy(tokenizer, family), tiny_policy(tokenizer, family)
    shapes = {name: tensor.shape for name, tensor in merged_tensors(adapted.model)}
    assert shapes == {name: parameter.shape for name, parameter in plain.model.named_parameters()}
    untouched = dict(merged_tensors(plain.model))
    assert all(untouched[name] is not None and torch.equal(untouched[name], p) for name, p in
               plain.model.named_parameters())  # fmt: skip


def test_adapters_start_as_the_model_and_the_same_for_the_same_seed(tokenizer):
    plain = tiny_policy(tokenizer)
    tensors = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        policy = tiny_policy(tokenizer)
        torch.manual_seed(noise)
        add_adapters(policy.model, LORA, "tiny", seed)
        assert all(torch.equal(tensor, plain.model.get_parameter(name)) for name, tensor in
                   merged_tensors(policy.model))  # fmt: skip
        tensors.append(adapter_tensors(policy.model))
    one, same, other = tensors
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_gradient_of_the_adapters_is_that_of_the_equations(tokenizer, family):
    policy, samples = adapted_policy(tokenizer, family), make_samples(8)
    config = TrainingConfig(steps=10)
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id)
    trained = [name for name, parameter in policy.named_parameters() if parameter.grad is not None]
    assert trained
    assert all("lora_" in name for name in trained)
    policy.zero_grad()
    loss = plain_loss(policy, samples, config, step=0)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-9)
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=5e-8, rtol=1e-6)
    assert gradient.abs().max() > 1e-3


def test_an_engine_of_its_own_samples_from_the_merged_weights(tokenizer):
    policy = adapted_policy(tokenizer)
    policy.float()
    replica = TransformersEngine(tiny_policy(tokenizer).model.float(), tokenizer)
    own = TransformersEngine(policy.model, tokenizer)
    sampling, seeds = SamplingConfig(temperature=0.0, max_new_tokens=12), list(range(len(PROMPTS)))
    before = replica.generate(PROMPTS, sampling, seeds)
    GatheredWeights(policy, replica).push(0)
    after, expected = replica.generate(PROMPTS, sampling, seeds), own.generate(PROMPTS, sampling, seeds)
    assert [response.token_ids for response in after] == [response.token_ids for response in expected]
    assert [response.token_ids for response in after] != [response.token_ids for response in before]


def test_a_run_trains_the_adapters_only_and_resumes_to_the_same_bytes(tmp_path, model_folder, data_folder):
    config = load_config(None, SETTINGS)
    whole = Recorder()
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole)
    start = load_model(model_folder)[0].state_dict()
    for name, value in expected.items():
        if "lora_" not in name:
            assert torch.equal(value, start[name.removeprefix("model.").replace(".base_layer.", ".")]), name
    assert max(value.abs().max() for name, value in expected.items() if "lora_B" in name) > 1e-3
    measured = [row["policy/sampler_mismatch_kl"] for row in whole.rows.values() if "policy/sampler_mismatch_kl" in row]
    assert measured
    assert all(abs(value) < 1e-6 for value in measured)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", config, model_folder, data_folder, Recorder(stop_after=2))
    resumed = run(tmp_path / "parts", config, model_folder, data_folder, Recorder())
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_a_checkpoint_has_the_adapters_and_names_the_base_they_belong_to(
    tmp_path, model_folder, data_folder, tokenizer
):
    config = load_config(None, [*SETTINGS, "training.steps=1"])
    run(tmp_path / "run", config, model_folder, data_folder, Recorder())
    newest = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert newest is not None
    (shard,) = newest.glob("shard-*.safetensors")
    with safe_open(shard, "pt") as file:
        names = list(file.keys())
    assert names
    assert all(".lora_" in name for name in names)
    base = json.loads((newest / "state.json").read_text(encoding="utf-8"))["base"]
    assert base["source"] == str(model_folder)
    # The same base under another name is the same base; one with another weight is not.
    model, _ = load_model(model_folder)
    export_model(model, tokenizer, whole_weights(Policy(model)), tmp_path / "moved")
    run(tmp_path / "run", config, tmp_path / "moved", data_folder, Recorder())
    with torch.no_grad():
        model.get_decoder().norm.weight[0] += 1e-3
    export_model(model, tokenizer, whole_weights(Policy(model)), tmp_path / "other")
    with pytest.raises(CheckpointError, match=f"adapters of another base model .*{base['sha256'][:16]}"):
        run(tmp_path / "run", config, tmp_path / "other", data_folder, Recorder())


def test_adapters_and_whole_models_do_not_go_on_from_each_other(tmp_path, model_folder, data_folder):
    run(tmp_path / "lora", load_config(None, SETTINGS), model_folder, data_folder, Recorder())
    with pytest.raises(CheckpointError, match="not of this model"):
        run(tmp_path / "lora", load_config(None, SMALL), model_folder, data_folder, Recorder())
    run(tmp_path / "whole", load_config(None, SMALL), model_folder, data_folder, Recorder())
    with pytest.raises(CheckpointError, match="not of this model"):
        run(tmp_path / "whole", load_config(None, SETTINGS), model_folder, data_folder, Recorder())


def test_the_exported_model_and_the_adapter_on_the_base_answer_as_the_trainer_does(tmp_path, model_folder, tokenizer):
    from peft import PeftModel

    model, _ = load_model(model_folder)
    add_adapters(model, LORA, model_folder, seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    sampling = SamplingConfig(temperature=0.0, max_new_tokens=12)
    answers = TransformersEngine(model, tokenizer).generate(PROMPTS, sampling, list(range(len(PROMPTS))))
    export_model(model, tokenizer, whole_weights(Policy(model)), tmp_path / "model")
    export_adapter(model, adapter_tensors(model), tmp_path / "adapter")
    exported = [until_end(answer, tokenizer.eos_token_id) for answer in greedy_answers(tmp_path / "model")]
    assert exported == [answer.token_ids for answer in answers]
    assert greedy_answers(tmp_path / "model") != greedy_answers(model_folder)
    opened = PeftModel.from_pretrained(load_model(model_folder)[0], tmp_path / "adapter").merge_and_unload()
    merged = load_model(tmp_path / "model")[0].state_dict()
    for name, value in opened.state_dict().items():
        torch.testing.assert_close(value, merged[name], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "query"])
def test_a_layer_that_cannot_have_an_adapter_is_refused_by_name(tokenizer, name):
    model = tiny_policy(tokenizer).model
    with pytest.raises(ConfigError, match=f"target_modules: Qwen2ForCausalLM has no linear layer '{name}'"):
        add_adapters(model, LoraConfig(target_modules=("q_proj", name)), "tiny", 0)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_two_processes_train_adapters_and_leave_both_folders(tmp_path, model_folder, data_folder):
    from peft import PeftModel

    folder = tmp_path / "run"
    # Adapters start at zero: so large a step that sampling from the unchanged base would be seen.
    settings = ("training.lora.rank=4", "training.learning_rate=0.05", "training.warmup_steps=0", "training.steps=3")
    finish(launch(2, model_folder, data_folder, folder, *settings))
    measured = [row["policy/sampler_mismatch_kl"] for row in rows(folder) if "policy/sampler_mismatch_kl" in row]
    assert len(rows(folder)) == 3
    assert measured
    assert all(abs(value) < 1e-6 for value in measured)
    opened = PeftModel.from_pretrained(load_model(model_folder)[0], folder / "adapter").merge_and_unload()
    merged, base = load_model(folder / "model")[0].state_dict(), load_model(model_folder)[0].state_dict()
    for name, value in opened.state_dict().items():
        torch.testing.assert_close(value, merged[name], atol=1e-6, rtol=0.0)
    moved = {name for name, value in merged.items() if not torch.equal(value, base[name])}
    assert moved
    assert all(name.endswith("_proj.weight") for name in moved)


def test_settings_of_adapters_come_over_a_recipe_that_has_none(tmp_path):
    (tmp_path / "run.yaml").write_text("training: {lora: null}\n", encoding="utf-8")
    assert load_config(tmp_path / "run.yaml").training.lora is None
    assert load_config(tmp_path / "run.yaml", ["training.lora.rank=3"]).training.lora == LoraConfig(rank=3)
    assert load_config(None, ["training.lora={}"]).training.lora == LoraConfig()
    with pytest.raises(
        ConfigError, match=r"unknown key 'training.lora.r' \(expected one of: alpha, rank, target_modules"
    ):
        load_config(None, ["training.lora.r=3"])
