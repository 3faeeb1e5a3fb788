"""The trainer's part of one SGPO step with a prompt in every row, and with shared prompts, on the same random rollouts.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/shared_prompts.py [--shape testbed|smollm2] [--rounds 3] [--json FILE]

Weights and rollouts are random: 8 problems x (8 + 4) responses of 40 tokens after prompts of 70 tokens, 170 with the
strategy. A step is scoring the targets, the guide's hidden states, GRPO and distillation, clip and AdamW. Layouts take
turns in one process, the fastest round of each counts, and the ratio is what is to be compared between machines.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sgpo.algorithms.registry import build
from sgpo.config import TrainingConfig
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

SHAPES = {
    "testbed": {
        "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
        "num_key_value_heads": 2, "vocab_size": 400, "head_dim": 32,
    },
    "smollm2": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "head_dim": 64,
    },
}  # fmt: skip
PROBLEMS, AUTONOMOUS, GUIDED, RESPONSE, PROMPT, WITH_STRATEGY = 8, 8, 4, 40, 70, 170


def samples(vocabulary: int) -> list[ProblemSamples]:
    """Random rollouts with rewards that give every problem an advantage and a target."""
    draw = random.Random(0)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(draw.randrange(6, vocabulary) for _ in range(number))

    def rollout(problem: str, group, reward: float) -> Rollout:
        return Rollout(problem, group, tokens(RESPONSE), (-1.0,) * RESPONSE, "", "stop", reward, 0, 0)

    return [
        ProblemSamples(
            name, tokens(PROMPT), tokens(WITH_STRATEGY),
            tuple(rollout(name, "autonomous", float(place % 4 == 0)) for place in range(AUTONOMOUS)),
            tuple(rollout(name, "guided", float(place % 2 == 0)) for place in range(GUIDED)),
        )
        for name in (f"p{number}" for number in range(PROBLEMS))
    ]  # fmt: skip


def product_rate() -> float:
    """Return float32 operations per second of products of 1,024 x 1,024 matrices, the best of 20."""
    left, right = torch.randn(2, 1024, 1024)
    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - begun)
    return 2 * 1024**3 / best


def useful_operations(model: LlamaForCausalLM, shape: dict[str, int]) -> float:
    """Return matrix products that a step needs when nothing is computed twice, attention and vocabulary included.

    Forward is 2 operations per weight and token and backward 4. With gradient: the group's prompt and responses, the
    target with its own copy of the prompt. Without: candidates for Eq. 4 and the guide's side of Eq. 3.
    """
    layers = sum(
        weight.numel() for name, weight in model.named_parameters() if ".layers." in name and weight.dim() == 2
    )
    vocabulary = shape["vocab_size"] * shape["hidden_size"]

    def forward(prompt: int, responses: int) -> float:
        tokens = prompt + responses * RESPONSE
        seen = prompt * prompt / 2 + responses * (RESPONSE * prompt + RESPONSE * RESPONSE / 2)
        attention = 4 * seen * shape["num_attention_heads"] * shape["head_dim"] * shape["num_hidden_layers"]
        return 2 * layers * tokens + attention + 2 * vocabulary * responses * RESPONSE

    right = GUIDED // 2
    without_gradient = forward(PROMPT, right) + forward(WITH_STRATEGY, 1)
    with_gradient = forward(PROMPT, AUTONOMOUS) + forward(PROMPT, 1)
    return PROBLEMS * (without_gradient + 3 * with_gradient)


def main() -> None:
    """Measure both layouts in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="testbed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=16384, help="training.tokens_per_microbatch")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    shape = SHAPES[arguments.shape]
    model = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=2048, tie_word_embeddings=True))
    policy, batch, world = Policy(model), samples(shape["vocab_size"]), World(0, 1, torch.device("cpu"))
    seconds: dict[str, list[float]] = {"plain": [], "shared": []}
    computed: dict[str, float] = {}
    rates = [product_rate()]
    optimizer = make_optimizer(policy, TrainingConfig())
    for _ in range(arguments.rounds + 1):
        for name, taken in seconds.items():
            training = TrainingConfig(shared_prompts=name == "shared", tokens_per_microbatch=arguments.tokens)
            gradient = Gradient(policy, build(training, seed=0), training, world, pad_id=0)
            begun = time.perf_counter()
            (minibatch,) = gradient.minibatches(batch, 0, PROBLEMS)
            sums = gradient.accumulate(minibatch)
            optimizer_step(policy, optimizer, 1e-9, training.max_grad_norm, None)
            taken.append(time.perf_counter() - begun)
            computed[name] = sums["padded_tokens"]
        rates.append(product_rate())
    best = {name: min(taken[1:]) for name, taken in seconds.items()}
    operations, rate = useful_operations(model, shape), max(rates)
    result = {
        "shape": arguments.shape, "plain_seconds": best["plain"], "shared_seconds": best["shared"],
        "plain_over_shared": best["plain"] / best["shared"], "plain_tokens": computed["plain"],
        "shared_tokens": computed["shared"], "product_rate": rate,
        "product_rate_share": operations / best["shared"] / rate,
    }  # fmt: skip
    print("| layout | seconds | tokens with gradient or guide | share of the product rate |\n|---|---|---|---|")
    for name in seconds:
        print(f"| {name} | {best[name]:.3f} | {computed[name]:,.0f} | {operations / best[name] / rate:.0%} |")
    print(f"\nplain over shared {result['plain_over_shared']:.2f}; products at {rate / 1e9:.0f} GFLOP/s")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
