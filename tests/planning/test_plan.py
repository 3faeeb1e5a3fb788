"""Plans: memory against real tensors and sums made by hand, seconds that scale as work does, refusals in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sgpo.config import RunConfig, TrainingConfig, load_config
from sgpo.planning import PlanError, Shape, find_shape, make_plan, shape_of
from sgpo.planning.devices import DEVICES, GIB, find_device
from sgpo.planning.memory import memory_of, trained_parameters
from sgpo.planning.plan import Plan
from sgpo.planning.shapes import SHAPES
from sgpo.planning.workload import Assumptions, workload_of
from sgpo.training.optimisation import make_optimizer, optimizer_step

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPE, SEVEN = CONFIGS / "qwen2.5-7b.yaml", SHAPES["qwen2.5-7b"]
H100 = DEVICES["h100"]
TINY = LlamaConfig(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128,
    vocab_size=300, tie_word_embeddings=True,
)  # fmt: skip


def plan(*overrides: str, gpus: int = 8, recipe: Path | None = RECIPE, response: int | None = 2000, **others) -> Plan:
    return make_plan(load_config(recipe, overrides), SEVEN, H100, gpus, Assumptions(response=response), **others)


def test_weights_gradients_and_moments_are_those_of_a_real_optimiser():
    model, shape = LlamaForCausalLM(TINY), shape_of(TINY)
    config = RunConfig()
    optimizer = make_optimizer(model, TrainingConfig())
    model(torch.arange(8)[None]).logits.sum().backward()
    gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    optimizer_step(model, optimizer, 1e-3, 1.0)
    moments = sum(
        state.nbytes for states in optimizer.state.values() for name, state in states.items() if name != "step"
    )
    memory = memory_of(shape, config, workload_of(config, Assumptions()), find_device("cpu", 100), gpus=1)
    assert memory.weights == sum(weight.nbytes for weight in model.parameters())
    assert memory.gradients == gradients
    assert memory.optimizer == moments


def test_shards_are_a_part_of_the_whole_and_replicas_are_whole():
    one, eighth = plan("sharding.replicas=2").memory, plan().memory
    assert 4 * one.weights == 4 * 7_615_616_512 == 8 * eighth.weights
    assert 4 * one.optimizer == 8 * 7_615_616_512 == 8 * eighth.optimizer
    assert plan("sharding.cpu_offload=true").memory.weights == 0.0


def test_adapters_leave_no_moments_of_the_base():
    config = load_config(None, ["training.lora.rank=8", "training.lora.target_modules=[q_proj, down_proj]"])
    assert trained_parameters(SEVEN, config) == 28 * 8 * ((3584 + 3584) + (18944 + 3584))


def test_activation_checkpointing_keeps_one_row_a_layer_and_one_layer():
    kept = plan().memory.activations
    rows = 32768  # the recipe's micro-batch
    one_layer = 2 * 3584 * (4 + 2 * 2) + 2 * (2 * 3584 + 2 * 512) + 4 * 2 * 18944
    assert kept == rows * (28 * 2 * 3584 + one_layer + 2 * 2 * 3584)


def test_the_engine_s_share_is_its_weights_and_its_cache():
    memory = plan().memory
    assert memory.sampler_weights + memory.kv_cache == 0.5 * H100.memory
    asleep, awake = plan().memory, plan("engine.sleep=false", "engine.gpu_memory_share=0.4").memory
    assert asleep.peak == asleep.sampling
    assert awake.peak == awake.training == asleep.training + 0.4 * H100.memory


def test_twice_the_devices_take_half_the_time_of_what_lies_over_them():
    one, two = plan().phases, plan(gpus=16, recipe=RECIPE).phases
    for phase in ("forward and backward", "scoring candidates (Eq. 4)", "guide forward"):
        assert two[phase].products == pytest.approx(one[phase].products / 2)
    assert one["sampling"].seconds / 2 < two["sampling"].seconds < one["sampling"].seconds


def test_forward_and_backward_by_hand():
    settings = ("training.sampling.max_new_tokens=1000", "training.problems_per_step=8",
                "sharding.activation_checkpointing=false", "training.tokens_per_microbatch=4096",
                "training.shared_prompts=false")  # fmt: skip
    cost = plan(*settings, response=1000).phases["forward and backward"]
    rows = 8 + 1 - 0.5**4  # of each of 8 problems, one on each device: 8 responses, and a target if any is right
    matrices = 28 * 3584 * (2 * 3584 + 2 * 512 + 3 * 18944) * 1200 + 152064 * 3584 * 1000
    attention = 28 * 2 * 3584 * (1200 * 1201 / 2)
    assert cost.flops == pytest.approx(3 * 2 * rows * (matrices + attention))
    guide_logits = 2 * (rows - 8) * 152064 * 3584 * 1000
    assert cost.products == pytest.approx((cost.flops + guide_logits) / (0.78 * 989e12))


def test_shared_prompts_cost_less_and_a_method_without_strategies_has_no_guide():
    shared = plan(response=100).phases["forward and backward"]
    assert shared.flops < 0.6 * plan("training.shared_prompts=false", response=100).phases["forward and backward"].flops
    phases = plan("training.algorithm.type=grpo").phases
    assert "guide forward" not in phases
    assert "scoring candidates (Eq. 4)" not in phases
    assert "old log-probabilities" in plan("training.minibatches=2").phases


def test_a_shared_target_lies_behind_its_problem_s_prompt():
    config = load_config(RECIPE, ["training.problems_per_step=1"])
    work = workload_of(config, Assumptions(prompt=100, response=50, guided_pass=1.0))
    assert work.policy.tokens == pytest.approx(100 + 8 * 50)
    assert work.distillation.tokens == pytest.approx(50)
    assert work.distillation.pairs == pytest.approx(work.policy.pairs / 8 - 100 * 101 / 2 / 8)


def test_sampling_ahead_hides_the_shorter_side():
    after, ahead = plan(), plan("training.overlap=true")
    assert ahead.step_seconds == pytest.approx(after.phases["sampling"].seconds)
    assert ahead.step_seconds < after.step_seconds


def test_hours_and_dollars_follow_from_a_step():
    priced = plan(price=2.0)
    assert priced.hours == pytest.approx(445 * priced.step_seconds / 3600)
    assert priced.dollars == pytest.approx(2.0 * 8 * priced.hours)
    assert plan().dollars is None


def test_links_limit_what_is_gathered_for_too_few_tokens():
    settings = ("training.shared_prompts=false", "training.tokens_per_microbatch=1024",
                "training.sampling.max_new_tokens=64")  # fmt: skip
    cost = plan(*settings, response=64, gpus=32).phases["forward and backward"]
    passing = 7_615_616_512 * (2 + 2 + 4) * 31 / 32 / (0.7 * 400e9)
    # 128 problems of 8 rows of 264 tokens on 32 devices are 9 micro-batches, and the targets are 1 or 2 more.
    assert round(cost.links / passing, 6) in (10, 11)
    assert cost.limit == "the links"


@pytest.mark.parametrize(
    ("overrides", "gpus", "recipe", "words"),
    [
        ((), 2, None, "activations"),
        (("sharding.activation_checkpointing=false",), 8, RECIPE, "sharding.activation_checkpointing=true"),
        (("engine.sleep=false", "engine.gpu_memory_share=0.6"), 8, RECIPE, "engine.sleep=true"),
        ((), 1, RECIPE, "--gpus"),
    ],
)
def test_what_does_not_fit_is_refused_with_changes_that_each_make_it_fit(overrides, gpus, recipe, words):
    with pytest.raises(PlanError) as refusal:
        plan(*overrides, gpus=gpus, recipe=recipe, response=None)
    line = str(refusal.value)
    assert words in line
    assert "\n" not in line
    changes = re.findall(r"[a-z_]+\.[a-z_]+=\S+|--gpus \d+", line.split("(expected ")[1].rstrip(")"))
    assert changes
    for change in changes:
        devices = int(change.split()[1]) if change.startswith("--gpus") else gpus
        also = () if change.startswith("--gpus") else (change,)
        made = plan(*overrides, *also, gpus=devices, recipe=recipe, response=None)
        assert made.memory.peak <= H100.memory


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: plan(gpus=0), "0 devices (expected at least 1)"),
        (lambda: plan("sharding.replicas=3"), "sharding.replicas is 3 (expected a divisor of 8 devices)"),
        (lambda: plan(response=20000), "a mean response of 20000 tokens (expected 1 to"),
        (lambda: plan("engine.gpu_memory_share=0.2"), "expected a larger engine.gpu_memory_share"),
        (lambda: find_device("h10"), "kind 'h10' is unknown (expected one of h100, h200, h20, a100, l4, cpu; 'h100'"),
        (lambda: find_device("cpu"), "kind cpu has no rate (expected --gflops"),
        (lambda: find_device("cpu", float("nan")), "kind cpu has no rate (expected --gflops"),
        (lambda: find_device("cpu", 100.0, float("nan")), "--memory-gb is nan (expected the memory of the cpu in GB"),
        (lambda: find_device("h100", 5.0), "kind is 'h100' (expected kind cpu, or neither)"),
        (lambda: find_shape("Qwen/Qwen2.5-7B-Instruct"), "'qwen2.5-7b' is nearest"),
        (lambda: shape_of({"model_type": "mamba"}), "model_type is 'mamba' (expected one of llama, qwen2, qwen3)"),
        (lambda: shape_of({"model_type": "llama", "hidden_size": 0, "num_attention_heads": 2}), "'hidden_size' is 0"),
    ],
)
def test_bad_input_is_one_line_that_says_what_would_be_right(wrong, line):
    with pytest.raises(PlanError, match=re.escape(line)) as refusal:
        wrong()
    assert "\n" not in str(refusal.value)


def test_a_model_folder_has_the_shape_of_its_configuration(tmp_path: Path):
    TINY.save_pretrained(tmp_path)
    assert find_shape(str(tmp_path)) == Shape(64, 2, 4, 2, 16, 128, 300, True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PlanError, match=r"config\.json: not JSON"):
        find_shape(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(PlanError, match=r"config\.json: no such file"):
        find_shape(str(tmp_path))


def test_the_command_prints_a_table_and_numbers(capsys: pytest.CaptureFixture[str]):
    from sgpo.cli.main import app

    command = ["plan", "--config", str(RECIPE), "--shape", "qwen2.5-7b", "--gpus", "8", "--kind", "h100"]
    app([*command, "--price", "2", "--response-tokens", "2000"], standalone_mode=False)
    table = capsys.readouterr().out
    assert "7.62B parameters, on 8 x h100" in table
    assert "limited by sampling" in table
    assert "dollars" in table
    app([*command, "--json", "training.steps=10"], standalone_mode=False)
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["steps"] == 10
    assert numbers["dollars"] is None
    assert numbers["step_seconds"] == pytest.approx(sum(numbers["seconds"].values()))
    assert numbers["memory_bytes"]["peak"] <= numbers["device_memory_bytes"] == 79 * GIB


@pytest.mark.parametrize("recipe", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_fits_the_machine_that_it_is_for(recipe: Path):
    shapes = {"qwen2.5-1.5b": "qwen2.5-1.5b", "qwen2.5-7b": "qwen2.5-7b", "llama-8b": "llama-3.1-8b"}
    config = load_config(recipe)
    if recipe.stem in shapes:
        made = make_plan(config, find_shape(shapes[recipe.stem]), H100, config.processes)
    else:
        made = make_plan(config, shape_of(TINY), find_device("cpu", 100), 1)
    assert made.hours > 0
