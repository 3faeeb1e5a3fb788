"""Four optimiser steps of every method and ablation on fixed inputs, as `tests/golden/losses.json` records them.

Nothing is sampled and no tensor is drawn by torch: rollouts come from Python's generator and weights from numpy's,
which are the same on every machine. As a program under torchrun the steps are sharded over the processes:

    torchrun --standalone --nproc-per-node 2 tests/golden/steps.py OUTPUT.json [CASE ...]
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from samples import make_samples
from transformers import LlamaConfig, LlamaForCausalLM

from sgpo.algorithms import registry
from sgpo.algorithms.rows import Row
from sgpo.config import LoraConfig, RunConfig, load_config
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.lora import add_adapters
from sgpo.training.metrics import MetricSums, step_metrics
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.sharding import shard_policy, whole_weights
from sgpo.training.step import Gradient
from sgpo.training.supervised import supervised_gradient
from sgpo.training.world import World, open_world

STEPS, PROBLEMS, VOCABULARY, PAD = 4, 9, 200, 0
NOT_A_NUMBER_OF_THE_METHOD = ("time/", "throughput/tokens_per_second")
"""Metrics that differ from run to run."""

_AS_THE_PAPERS = "normalization: sequence, normalize_std: true, clip_low: 0.2, clip_high: 0.28"
CASES: dict[str, list[str]] = {
    # The rows and ablations of docs/objectives.md.
    "SGPO": [],
    "SFT": [],
    "GRPO": ["training.algorithm.type=grpo"],
    "LUFFY": ["training.algorithm.type=luffy"],
    "HPT": ["training.algorithm.type=hpt"],
    "no autonomous GRPO": ["training.algorithm.grpo=false"],
    "no proximal constraints": ["training.algorithm={delta: null, target: all, weight: fixed, alpha_max: 1.0}"],
    "no KL clipping": ["training.algorithm.delta=null"],
    "no target selection": ["training.algorithm.target=all"],
    "no adaptive weight": ["training.algorithm={weight: fixed, alpha_max: 1.0}"],
    "reverse KL": ["training.algorithm.distillation=reverse_kl"],
    "direct SFT": ["training.algorithm.distillation=sft"],
    "group-advantage weight": ["training.algorithm.weight=group_advantage"],
    # The options beside the paper.
    "truncated KL": ["training.algorithm={clipping: truncate, delta: 0.5}"],
    "annealed delta": ["training.algorithm={delta: 1.0, delta_end: 0.1}"],
    "token mean": ["training.algorithm.normalization=token"],
    "constant length": ["training.algorithm.normalization=constant"],
    "no division by the deviation": ["training.algorithm.normalize_std=false"],
    "importance cap": ["training.algorithm.importance_cap=1.5"],
    "entropy bonus": ["training.algorithm.entropy_coefficient=0.01"],
    "target by mean": ["training.algorithm.target=mean"],
    "random target": ["training.algorithm.target=random"],
    "truncated responses masked": ["training.algorithm.mask_truncated=true"],
    "mini-batches": ["training.minibatches=3"],
    "mini-batches, importance cap": ["training.minibatches=2", "training.algorithm.importance_cap=1.2"],
    "sampled ahead": ["training.overlap=true"],
    "sampled ahead, importance cap": ["training.overlap=true", "training.algorithm.importance_cap=1.2"],
    "LUFFY by sequence": [f"training.algorithm={{type: luffy, {_AS_THE_PAPERS}, entropy_coefficient: 0}}"],
    "HPT, gate 1": [f"training.algorithm={{type: hpt, {_AS_THE_PAPERS}, gate: 1, imitation_coefficient: 0.3}}"],
    "temperature": ["training.sampling.temperature=0.7"],
    "plain rows": ["training.shared_prompts=false"],
    "LoRA": [],
}


def settings_of(case: str) -> RunConfig:
    """The configuration of a case: a learning rate at which weights move, and several micro-batches."""
    common = ["training.steps=4", "training.learning_rate=0.003", "training.tokens_per_microbatch=400"]
    return load_config(None, [*common, "training.warmup_steps=2", *CASES[case]])


def policy_of(case: str) -> Policy:
    """A Llama of two layers in float32, far enough from uniform that ratios, KL and targets differ."""
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, attn_implementation="sdpa",
    )  # fmt: skip
    model, draw = LlamaForCausalLM(shape), numpy.random.default_rng(0)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            values = 0.16 * draw.standard_normal(parameter.shape)
            parameter.copy_(torch.from_numpy(values if parameter.ndim > 1 else 1.0 + values))
    if case != "LoRA":
        return Policy(model)
    policy = Policy(model, add_adapters(model, LoraConfig(rank=4), "golden", seed=3))
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(0.1 * draw.standard_normal(parameter.shape)))
    return policy


def samples_of(step: int) -> list[ProblemSamples]:
    """The sampled batch of a step, with log-probabilities as a policy near this one would have recorded them."""

    def recorded(place: int, rollout: Rollout) -> Rollout:
        logprobs = tuple(-5.5 + 0.4 * (token % 5) for token in rollout.token_ids)
        return replace(rollout, logprobs=logprobs, finish_reason="length" if place % 3 == 2 else "stop")

    def recorded_all(rollouts: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
        return tuple(recorded(place, rollout) for place, rollout in enumerate(rollouts))

    return [
        replace(one, autonomous=recorded_all(one.autonomous), guided=recorded_all(one.guided))
        for one in make_samples(PROBLEMS, VOCABULARY, seed=step)
    ]


def four_steps(case: str, world: World) -> list[dict[str, Any]]:
    """Loss, gradient norm, metrics and weights of each step; only the first process has them all."""
    torch.set_num_threads(1)
    config, policy = settings_of(case), policy_of(case)
    shard_policy(policy, world)
    optimizer = make_optimizer(policy, config.training)
    steps = _supervised_steps if case == "SFT" else _policy_steps
    records = []
    for loss, norm, metrics in steps(config, policy, optimizer, world):
        weights = whole_weights(policy)
        digest, squares = hashlib.sha256(), 0.0
        for name in sorted(weights):
            values = weights[name].detach().contiguous().numpy()
            digest.update(name.encode() + values.tobytes())
            squares += float((values.astype(numpy.float64) ** 2).sum())
        records.append(
            {
                "loss": loss, "grad_norm": norm, "weights_norm": math.sqrt(squares),
                "weights_sha256": digest.hexdigest(), "metrics": metrics,
            }
        )  # fmt: skip
    return records


def _supervised_steps(
    config: RunConfig, policy: Policy, optimizer: torch.optim.Optimizer, world: World
) -> Iterator[tuple[float, float, dict[str, float]]]:
    for step in range(STEPS):
        rows = [Row(one.autonomous_prompt, one.expert, key) for key, one in enumerate(samples_of(step))]
        loss = supervised_gradient(policy, world.shard(rows), config.training.tokens_per_microbatch, world, PAD)
        norm, _ = optimizer_step(policy, optimizer, learning_rate(config.training, step), 1.0)
        yield loss, norm, {}


def _policy_steps(
    config: RunConfig, policy: Policy, optimizer: torch.optim.Optimizer, world: World
) -> Iterator[tuple[float, float, dict[str, float]]]:
    algorithm = registry.build(config.training, config.seed)
    gradient = Gradient(policy, algorithm, config.training, world, PAD)
    for step in range(STEPS):
        samples, rate, sums = world.shard(samples_of(step)), learning_rate(config.training, step), MetricSums()
        for minibatch in gradient.minibatches(samples, step, PROBLEMS):
            sums.add(gradient.accumulate(minibatch))
            norm, taken = optimizer_step(policy, optimizer, rate, config.training.max_grad_norm)
            sums.add_update(norm, taken, world)
        metrics, histograms = step_metrics(samples, sums, world, PROBLEMS, step, rate, {})
        counts = {f"{name}/{place}": n for name, bins in histograms.items() for place, n in enumerate(bins)}
        same = {k: v for k, v in metrics.items() if not k.startswith(NOT_A_NUMBER_OF_THE_METHOD)} | counts
        yield metrics["loss/total"], metrics["optim/grad_norm"], same


def main() -> None:
    """Write the records of the named cases, or of all, as JSON."""
    with open_world() as world:
        records = {case: four_steps(case, world) for case in sys.argv[2:] or CASES}
        if world.is_main:
            Path(sys.argv[1]).write_text(json.dumps(records), encoding="utf-8")


if __name__ == "__main__":
    main()
