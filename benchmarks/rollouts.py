"""Tokens per second of the transformers engine against `model.generate`, in one run and on the same rollouts.

    OMP_NUM_THREADS=1 python benchmarks/rollouts.py [--threads 1 2] [--rounds 3]

A 0.9M-parameter Qwen2 with random weights answers 16 prompts, each repeated, with at most 64 tokens at temperature 1
and top-p 0.95. Both sides get the same prompts, left-padded for `generate`, and only tokens up to the end token count.
"full length": no response can end early. "ends early": two in three end before the limit, after 42 tokens on
average over all, so that it shows what leaving the batch is worth. The sides take turns; each figure is the best of
its rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from sgpo.config import SamplingConfig
from sgpo.rollouts.transformers_engine import TransformersEngine

VOCABULARY, PAD, END = 450, 0, 1
PROMPTS, NEW_TOKENS = 16, 64
BATCHES = (192, 512)
SAMPLING = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=NEW_TOKENS, batch_size=512)


def build_model(end_logit: float) -> Qwen2ForCausalLM:
    """Random weights with peaked next-token distributions; `end_logit` is added to the end token's logit."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=352, max_position_embeddings=512, tie_word_embeddings=False, initializer_range=0.25,
        pad_token_id=PAD, eos_token_id=END, bos_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    bias_V = torch.zeros(VOCABULARY)
    bias_V[PAD], bias_V[END] = -1e4, end_logit
    head = torch.nn.Linear(config.hidden_size, VOCABULARY)
    head.weight, head.bias = model.lm_head.weight, torch.nn.Parameter(bias_V)
    model.lm_head = head
    return model


def by_generate(model: Qwen2ForCausalLM, prompts: list[list[int]]) -> int:
    """Tokens sampled by `model.generate`, the end token included."""
    longest = max(map(len, prompts))
    input_ids_BT = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    settings = GenerationConfig(
        do_sample=True, temperature=SAMPLING.temperature, top_p=SAMPLING.top_p, top_k=0, max_new_tokens=NEW_TOKENS,
        pad_token_id=PAD, eos_token_id=END,
    )  # fmt: skip
    mask_BT = (input_ids_BT != PAD).long()
    with torch.inference_mode():
        sequences_BT = model.generate(  # type: ignore[attr-defined]
            input_ids_BT, attention_mask=mask_BT, generation_config=settings
        )
    return int((sequences_BT[:, longest:] != PAD).sum())


def by_engine(engine: TransformersEngine, prompts: list[list[int]]) -> int:
    """Tokens sampled by the engine, the end token included."""
    return sum(len(response.token_ids) for response in engine.generate(prompts, SAMPLING, list(range(len(prompts)))))


def speed(sample: Callable[[], int]) -> float:
    """Tokens per second of one call."""
    started = time.perf_counter()
    tokens = sample()
    return tokens / (time.perf_counter() - started)


def compare(end_logit: float, batch: int, rounds: int) -> tuple[float, float]:
    """(generate, engine) in tokens/s, each the best of `rounds`."""
    model = build_model(end_logit)
    engine = TransformersEngine(model, [END])
    draw = random.Random(0)
    unique = [[draw.randrange(2, VOCABULARY) for _ in range(draw.randrange(30, 60))] for _ in range(PROMPTS)]
    prompts = [prompt for prompt in unique for _ in range(batch // PROMPTS)]
    pairs = [
        (speed(lambda: by_generate(model, prompts)), speed(lambda: by_engine(engine, prompts))) for _ in range(rounds)
    ]
    return max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="torch threads to try")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the best counts")
    options = parser.parse_args()
    size = sum(parameter.numel() for parameter in build_model(0.0).parameters())
    print(f"{size / 1e6:.2f}M parameters, {PROMPTS} prompts repeated, {NEW_TOKENS} new tokens, float32, CPU\n")
    print("| threads | rollouts | responses | generate, tokens/s | engine, tokens/s | ratio |")
    print("|---|---|---|---|---|---|")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for batch in BATCHES:
            for name, end_logit in (("full length", -1e4), ("ends early", 3.0)):
                generate, engine = compare(end_logit, batch, options.rounds)
                print(
                    f"| {threads} | {batch} | {name} | {generate:,.0f} | {engine:,.0f} | {engine / generate:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
