"""Every rollout engine and plain `model.generate` on the same rollouts: tokens per second, first token, total time.

    OMP_NUM_THREADS=1 python benchmarks/rollouts.py [--models 1M 20M] [--rollouts 64 512] [--rounds 2] [--servers]

16 prompts of 30 to 60 tokens, each repeated, are answered with 64 tokens (20M: 32) at temperature 1 and top-p 0.95 by
Qwen2 models with random weights in float32. Tokens count up to the end token, which some responses say before their
limit. vLLM takes part where it is installed (`make .venv-vllm/installed`), over HTTP with --servers. The sides take
turns; each figure is the best of its rounds. "first token" is the time of a call for one token: all prompts are read.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from measure import add_json, in_turns, product_rate, write_figures
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.transformers_engine import TransformersEngine

PAD, END, PROMPTS, POSITIONS = 0, 1, 16, 512


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's size, and how long its answers are."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    new_tokens: int


SHAPES = {"1M": Shape(450, 128, 4, 4, 64), "20M": Shape(2048, 512, 6, 8, 32)}
Sample = Callable[[list[list[int]], int], int]
"""(prompts, most new tokens) -> tokens sampled."""


def build_model(shape: Shape) -> Qwen2ForCausalLM:
    """Random weights with next-token distributions that are neither uniform nor certain."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        intermediate_size=shape.hidden * 11 // 4, max_position_embeddings=POSITIONS, tie_word_embeddings=False,
        initializer_range=0.25 * (128 / shape.hidden) ** 0.5, pad_token_id=PAD, eos_token_id=END, bos_token_id=None,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def by_generate(model: Qwen2ForCausalLM) -> Sample:
    """transformers' own `generate`, prompts left-padded."""

    def sample(prompts: list[list[int]], new_tokens: int) -> int:
        longest = max(map(len, prompts))
        input_ids_BT = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
        settings = GenerationConfig(
            do_sample=True, temperature=1.0, top_p=0.95, top_k=0, max_new_tokens=new_tokens, pad_token_id=PAD,
            eos_token_id=END,
        )  # fmt: skip
        with torch.inference_mode():
            sequences_BT = model.generate(  # type: ignore[attr-defined]
                input_ids_BT, attention_mask=(input_ids_BT != PAD).long(), generation_config=settings
            )
        return int((sequences_BT[:, longest:] != PAD).sum())

    return sample


def by_engine(engine: RolloutEngine) -> Sample:
    """One of sgpo's engines."""

    def sample(prompts: list[list[int]], new_tokens: int) -> int:
        sampling = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=new_tokens, batch_size=512)
        return sum(len(r.token_ids) for r in engine.generate(prompts, sampling, list(range(len(prompts)))))

    return sample


@contextmanager
def sides(model: Qwen2ForCausalLM, servers: bool) -> Iterator[dict[str, Sample]]:
    """Everything that can sample from `model` here, by name."""
    found = {"model.generate": by_generate(model), "transformers engine": by_engine(TransformersEngine(model, [END]))}
    with ExitStack() as stack:
        if importlib.util.find_spec("vllm") is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            model.save_pretrained(folder / "model")
            if servers:
                from sgpo.rollouts.vllm.process import start_servers
                from sgpo.rollouts.vllm.server import VllmServerEngine

                settings = EngineConfig(kind="vllm-server", concurrency=512)
                (server,) = start_servers(folder / "model", settings, "float32", POSITIONS, folder)
                stack.callback(server.stop)
                engine = VllmServerEngine([server.url], model.config, [END], folder / "weights", settings)
                found["vLLM server"] = by_engine(engine)
            from sgpo.rollouts.vllm.engine import VllmEngine

            colocated = VllmEngine(folder / "model", model.config, [END], batch_size=512)
            stack.callback(colocated.close)
            found["vLLM in process"] = by_engine(colocated)
        yield found


def measure(sample: Sample, prompts: list[list[int]], new_tokens: int) -> tuple[float, float, float]:
    """(seconds to the first token, seconds in all, tokens per second)."""
    started = time.perf_counter()
    sample(prompts, 1)
    first = time.perf_counter()
    tokens = sample(prompts, new_tokens)
    total = time.perf_counter() - first
    return first - started, total, tokens / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rollouts", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=2, help="repetitions; the best counts")
    parser.add_argument("--servers", action="store_true", help="also vLLM over HTTP")
    add_json(parser)
    options = parser.parse_args()
    rates, rows = [product_rate()], []
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads\n")
    print("| model | rollouts | engine | first token, s | total, s | tokens/s | of generate |")
    print("|---|---|---|---|---|---|---|")
    for name in options.models:
        shape, model = SHAPES[name], build_model(SHAPES[name])
        draw = random.Random(0)
        unique = [[draw.randrange(2, shape.vocabulary) for _ in range(draw.randrange(30, 60))] for _ in range(PROMPTS)]
        with sides(model, options.servers) as found:
            for sample in found.values():
                sample(unique[:1], 2)  # vLLM's first call takes seconds
            for rollouts in options.rollouts:
                prompts = [prompt for prompt in unique for _ in range(rollouts // PROMPTS)]
                calls = {side: partial(measure, sample, prompts, shape.new_tokens) for side, sample in found.items()}
                results = in_turns(calls, options.rounds, lambda: rates.append(product_rate()))
                best = {side: max(figures, key=lambda each: each[2]) for side, figures in results.items()}
                for side, (first, total, speed) in best.items():
                    share = speed / best["model.generate"][2]
                    rows.append(
                        {"model": name, "rollouts": rollouts, "engine": side, "first_token_seconds": first,
                         "seconds": total, "tokens_per_second": speed, "of_generate": share}
                    )  # fmt: skip
                    print(f"| {name} | {rollouts} | {side} | {first:.2f} | {total:.2f} | {speed:,.0f} | {share:.2f} |")
                print(end="", flush=True)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")
    ours = {
        f"{row['model']}_{row['rollouts']}_over_generate": row["of_generate"]
        for row in rows if row["engine"] == "transformers engine"
    }  # fmt: skip
    write_figures(options.json, {"rows": rows, **ours}, max(rates))


if __name__ == "__main__":
    main()
