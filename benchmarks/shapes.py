"""Model shapes with random weights, and what a step has at each: nothing is downloaded, nothing need be built before.

`testbed` has the shape and the lengths of the demonstration's base model; `smollm2` is SmolLM2-135M's; the larger ones
are Qwen's, for a GPU; `tiny` is for tests.
"""

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize, special, stats
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from sgpo.rollouts.schema import Group, ProblemSamples, Rollout

FAMILIES: dict[str, Any] = {
    "llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}  # fmt: skip
ENTROPY = 2.0
"""Entropy of next-token distributions in nats, about: a trained model's are neither flat nor certain."""
FIRST_WORD = 6  # ids below are left to padding and ends


@dataclass(frozen=True, slots=True)
class Work:
    """One step: problems x (autonomous + guided) responses, with lengths in tokens; `spread` is that of responses.

    So many autonomous groups as `equal` says have equal rewards, hence no gradient: 4 of 16 as the demonstration's.
    """

    problems: int
    autonomous: int
    guided: int
    prompt: int
    with_strategy: int
    response: int
    spread: int = 0
    equal: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's shape by its configuration, the step measured at it, and the sizes of micro-batches.

    `trl_rows` are the micro-batch sizes that TRL's trainer is tried at.
    """

    family: str
    config: dict[str, int]
    work: Work
    tokens_per_microbatch: int
    trl_rows: tuple[int, ...] = ()

    @property
    def vocabulary(self) -> int:
        """Words of the vocabulary."""
        return self.config["vocab_size"]


def _config(vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, **more: int):
    return {
        "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, **more,
    }  # fmt: skip


SHAPES = {
    "tiny": Shape("llama", _config(500, 64, 128, 2, 4, 2), Work(2, 4, 2, 8, 16, 12, 2), 256, (12, 6)),
    "testbed": Shape(
        "qwen2", _config(296, 96, 256, 3, 3, 3), Work(16, 8, 4, 54, 102, 54, 8, equal=4), 2048, (192, 48, 12)
    ),
    "smollm2": Shape("llama", _config(49152, 576, 1536, 30, 9, 3), Work(8, 8, 4, 70, 170, 40), 2048, (24, 12, 6)),
    "0.5b": Shape("qwen2", _config(151936, 896, 4864, 24, 14, 2), Work(4, 8, 4, 256, 512, 1024), 16384, (12,)),
    "0.6b": Shape(
        "qwen3", _config(151936, 1024, 3072, 28, 16, 8, head_dim=128), Work(4, 8, 4, 256, 512, 1024), 16384, (12,)
    ),
    "1.5b": Shape("qwen2", _config(151936, 1536, 8960, 28, 12, 2), Work(4, 8, 4, 256, 512, 1024), 16384, (12,)),
}


def random_model(shape: Shape, device: torch.device | str = "cpu", positions: int = 4096) -> PreTrainedModel:
    """Return the model with random weights, its distributions made as sharp as a trained model's."""
    configuration, model_class = FAMILIES[shape.family]
    torch.manual_seed(0)
    config = configuration(
        **shape.config, max_position_embeddings=positions, tie_word_embeddings=True, attn_implementation="sdpa",
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    with torch.device(device):
        model = model_class(config)
    # Logits are about normal; the last norm sets their deviation.
    with torch.no_grad():
        scale = math.sqrt(config.hidden_size) * config.initializer_range
        model.model.norm.weight.fill_(_deviation(shape.vocabulary) / scale)
    return model


def _deviation(vocabulary: int) -> float:
    """Return the deviation of normal logits with which a distribution over the vocabulary has the entropy wanted."""
    normal_V = special.ndtri((np.arange(vocabulary) + 0.5) / vocabulary)

    def beyond(deviation: float) -> float:
        return float(stats.entropy(special.softmax(deviation * normal_V))) - ENTROPY

    return optimize.brentq(beyond, 0.0, 50.0)


def random_prompts(shape: Shape, seed: int = 0) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the two prompts of each problem: without the strategy, and with it."""
    draw, work = random.Random(seed), shape.work
    return [(_tokens(draw, shape, work.prompt), _tokens(draw, shape, work.with_strategy)) for _ in range(work.problems)]


def random_samples(shape: Shape, autonomous: int | None = None) -> list[ProblemSamples]:
    """Return random rollouts with rewards that give every problem an advantage and half its guided group as targets.

    `autonomous` is the size of that group where it is to be another than the shape's.
    """
    draw, work = random.Random(1), shape.work

    def rollouts(problem: str, group: Group, count: int, right_in: int | None) -> tuple[Rollout, ...]:
        lengths = [work.response + draw.randint(-work.spread, work.spread) for _ in range(count)]
        return tuple(
            Rollout(
                problem, group, _tokens(draw, shape, length), (-ENTROPY,) * length, "", "stop",
                float(right_in is not None and place % right_in == 0), place, 0,
            )
            for place, length in enumerate(lengths)
        )  # fmt: skip

    return [
        ProblemSamples(
            f"p{number}", prompt, with_strategy,
            rollouts(f"p{number}", "autonomous", work.autonomous if autonomous is None else autonomous,
                     None if number < work.equal else 4),
            rollouts(f"p{number}", "guided", work.guided, 2),
        )
        for number, (prompt, with_strategy) in enumerate(random_prompts(shape))
    ]  # fmt: skip


def _tokens(draw: random.Random, shape: Shape, count: int) -> tuple[int, ...]:
    return tuple(draw.randrange(FIRST_WORD, shape.vocabulary) for _ in range(count))
