"""What one GPU makes of it: the training step, SGPO's step, the vocabulary work and sampling, with random weights.

    python benchmarks/gpu.py --json gpu.json --table gpu.md            # one card, under six minutes
    python benchmarks/gpu.py --device cpu --shape tiny                 # the same in seconds, to see that it runs

Needs torch, transformers, pydantic, pyyaml and safetensors, and for their rows trl and liger-kernel; nothing is
downloaded. Every section writes its rows as soon as it has them, and one that fails (memory, a missing package) says so
and leaves the others alone. MFU is FLOPs over 989 TFLOP/s: 6 per weight and token of the rows that are trained (a
prompt once for each), attention over the causal half, logits of responses. Useful FLOPs count a prompt once, and the
choice of targets and the guide's forward too (counts.py). First seconds are a first step's, compilation included.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from counts import Cost, Counts, step_costs
from gpu_rows import Bench
from measure import add_json, copy_rate, product_rate
from shapes import Work, random_model, random_samples
from torch import Tensor

from sgpo.algorithms import registry
from sgpo.config import SamplingConfig, ShardingConfig, TrainingConfig
from sgpo.objectives import linear_divergence_loss, linear_logprob_loss
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.sharding import shard_policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

PEAK_H100 = 989e12
SGPO_WORK = Work(4, 8, 4, 256, 512, 1024)
TINY = Work(4, 4, 2, 8, 16, 24)


def rates(bench: Bench) -> None:
    """Matrix products and copies: what the other figures are measured by."""
    for dtype in (torch.float32, torch.bfloat16):
        bench.rate = product_rate(bench.device, dtype, tries=5)
        bench.add(f"product {dtype}".replace("torch.", ""), tflops=round(bench.rate / 1e12, 2))
    bench.add("copy", gb_per_second=round(copy_rate(bench.device) / 1e9, 1))


def new_policy(bench: Bench, name: str, recompute: bool, compiled: bool) -> Policy:
    """Return a policy with random weights, sharded over one process: bf16 products, float32 master weights."""
    policy = Policy(random_model(bench.shape(name), bench.device, positions=32768))
    sharding = ShardingConfig(precision="bfloat16", activation_checkpointing=recompute, compile=compiled)
    shard_policy(policy, World(0, 1, bench.device), sharding)
    return policy


def sampled(bench: Bench, name: str, work: Work) -> list[ProblemSamples]:
    """Return rollouts of random tokens at the lengths asked for, or at tiny ones."""
    return random_samples(replace(bench.shape(name), work=TINY if bench.tiny else work))


def step(
    bench: Bench, name: str, what: str, samples: list[ProblemSamples], algorithm: dict[str, Any],
    recompute: bool = False, compiled: bool = True, shared: bool = True,
) -> None:  # fmt: skip
    """Measure prepare, forward, backward and AdamW of one step."""
    compiled = compiled and not bench.eager
    bench.peak_gib(reset=True)
    policy = new_policy(bench, name, recompute, compiled)
    training = TrainingConfig(
        algorithm=algorithm,  # pyright: ignore[reportArgumentType]
        tokens_per_microbatch=1000 if bench.tiny else 20480, fused_optimizer=bench.device.type == "cuda",
        sampling=SamplingConfig(max_new_tokens=32768), shared_prompts=shared,
    )  # fmt: skip
    optimizer = make_optimizer(policy, training)
    gradient = Gradient(policy, registry.build(training, 0), training, World(0, 1, bench.device), pad_id=0)

    found: dict[str, float] = {}

    def one() -> None:
        (minibatch,) = gradient.minibatches(samples, 0, len(samples))
        found["loss"] = float(gradient.accumulate(minibatch)["loss"])
        found["norm"], _ = optimizer_step(policy, optimizer, 1e-9, 1.0)

    begun = time.perf_counter()
    one()
    first = time.perf_counter() - begun
    seconds = bench.seconds(one, 2)
    rows = [(len(s.autonomous_prompt), len(r.token_ids)) for s in samples for r in s.autonomous]
    rows += [(len(s.autonomous_prompt), len(s.guided[0].token_ids)) for s in samples if s.guided]
    counts = Counts(policy.model)
    logits = counts.vocabulary(sum(response for _, response in rows), 3).flops
    as_rows = 3 * sum(counts.forward(prompt, [response]).flops for prompt, response in rows) + logits
    useful = sum(step_costs(counts, samples).values(), Cost()).flops
    tokens = sum(map(sum, rows))
    bench.add(
        what, seconds=round(seconds, 3), first_seconds=round(first, 1), tokens=tokens,
        tokens_per_second=round(tokens / seconds), mfu=round(as_rows / seconds / PEAK_H100, 3),
        useful_mfu=round(useful / seconds / PEAK_H100, 3),
        useful_of_measured_rate=round(useful / seconds / bench.rate, 3), peak_gib=bench.peak_gib(),
        loss=round(found["loss"], 6), gradient_norm=round(found["norm"], 5),
    )  # fmt: skip
    if bench.profile:
        with torch.profiler.profile() as profile:
            one()
        by = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
        bench.profile.write_text(f"{what}\n{profile.key_averages().table(sort_by=by, row_limit=40)}\n")
        bench.profile = None


def grpo_steps(bench: Bench) -> None:
    """Qwen3-0.6B's shape, trainer alone, at 16k and 65k tokens: the published row's sizes."""
    for rows, label in ((8, "16k"), (32, "65k")):
        samples = sampled(bench, "qwen3-0.6b", Work(rows // 8, 8, 0, 256, 512, 1792))
        step(bench, "qwen3-0.6b", f"GRPO step, 0.6B, {label} tokens", samples, {"type": "grpo"})
    samples = sampled(bench, "qwen3-0.6b", Work(1, 2, 0, 256, 512, 16128))
    step(bench, "qwen3-0.6b", "GRPO step, 0.6B, 2 rows of 16k tokens", samples, {"type": "grpo"})


SGPO = "SGPO step, 1.5B, 4 x (8 + 4) x 1,024"


def sgpo_step(bench: Bench) -> None:
    """SGPO at Qwen2.5-1.5B's shape: 8 + 4 rollouts of 1,024 tokens for each of 4 problems."""
    step(bench, "qwen2.5-1.5b", SGPO, sampled(bench, "qwen2.5-1.5b", SGPO_WORK), {"delta": None})


def layouts(bench: Bench) -> None:
    """The same step without what makes it faster, and with less memory."""
    samples = sampled(bench, "qwen2.5-1.5b", SGPO_WORK)
    what = f"{SGPO}, activations computed again"
    step(bench, "qwen2.5-1.5b", what, samples, {"delta": None}, recompute=True)
    for layout, compiled in (("plain rows", False), ("plain rows, layers compiled", True)):
        step(bench, "qwen2.5-1.5b", f"{SGPO}, {layout}", samples, {"delta": None}, compiled=compiled, shared=False)


def trl(bench: Bench) -> None:
    """TRL's GRPOTrainer at the same shape on 12 autonomous rollouts: the same sample budget, nothing distilled."""
    from trl_step import trl_step

    samples = sampled(bench, "qwen2.5-1.5b", Work(4, 12, 0, 256, 512, 1024))
    config = TrainingConfig(sampling=SamplingConfig(max_new_tokens=1024))
    for rows in (2,) if bench.tiny else (8, 4, 16):
        bench.peak_gib(reset=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                model = random_model(bench.shape("qwen2.5-1.5b"), bench.device, positions=32768)
                seconds = bench.seconds(trl_step(model, samples, rows, folder, config), 2)
        except torch.OutOfMemoryError:
            bench.add(f"TRL GRPOTrainer, 1.5B, 4 x 12 x 1,024, {rows} rows at a time", seconds="out of memory")
            continue
        tokens = sum(len(s.autonomous_prompt) + len(r.token_ids) for s in samples for r in s.autonomous)
        bench.add(
            f"TRL GRPOTrainer, 1.5B, 4 x 12 x 1,024, {rows} rows at a time", seconds=round(seconds, 3), tokens=tokens,
            tokens_per_second=round(tokens / seconds), peak_gib=bench.peak_gib(),
        )  # fmt: skip


def vocabulary(bench: Bench) -> None:
    """8,192 tokens over 151,936 words at width 1,536: forward and backward of both losses, and of plain torch."""
    tokens, words, wide = (64, 500, 64) if bench.tiny else (8192, 151936, 1536)
    dtype = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    draw = lambda *shape: torch.randn(*shape, device=bench.device, dtype=dtype)  # noqa: E731
    hidden, guide, weight = draw(tokens, wide), draw(tokens, wide), 0.02 * draw(words, wide)
    targets = torch.randint(words, (tokens,), device=bench.device)
    leaves = hidden.requires_grad_(), weight.requires_grad_()

    def ours_logprobs() -> None:
        linear_logprob_loss(*leaves, targets, lambda logprobs, entropy, span: -logprobs)[0].backward()

    def ours_kl() -> None:
        linear_divergence_loss(hidden, guide, weight, lambda kl, span: kl)[0].backward()

    def plain_logprobs() -> None:
        logits = (hidden @ weight.t()).float()
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()

    def plain_kl() -> None:
        student = (hidden @ weight.t()).float().log_softmax(-1)
        with torch.no_grad():
            teacher = (guide @ weight.t()).float().log_softmax(-1)
        (teacher.exp() * (teacher - student)).sum().backward()

    works = {"log-probability": ours_logprobs, "forward KL": ours_kl, "log-probability, plain torch": plain_logprobs,
             "forward KL, plain torch": plain_kl, **liger(hidden, guide, weight, targets)}  # fmt: skip
    for name, work in works.items():
        hidden.grad = weight.grad = None
        before = bench.peak_gib(reset=True)
        try:
            seconds = bench.seconds(work)
        except torch.OutOfMemoryError:
            bench.add(f"vocabulary, {name}", seconds="out of memory")
            continue
        bench.add(
            f"vocabulary, {name}", milliseconds=round(1000 * seconds, 1), extra_gib=round(bench.peak_gib() - before, 2)
        )


def liger(hidden: Tensor, guide: Tensor, weight: Tensor, targets: Tensor) -> dict[str, Callable[[], None]]:
    """Return Liger's kernels on the same inputs: cross-entropy, and the generalised Jensen-Shannon divergence."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss, LigerFusedLinearJSD
    except ImportError:
        return {}
    cross_entropy = LigerFusedLinearCrossEntropyLoss(reduction="sum")
    forward_kl = LigerFusedLinearJSD(jsd_beta=0.0)

    return {
        "log-probability, Liger": lambda: cross_entropy(weight, hidden, targets).backward(),
        "forward KL, Liger": lambda: forward_kl(hidden, weight, guide, weight.detach(), targets).backward(),
    }


def sampling(bench: Bench) -> None:
    """Our engine at Qwen3-0.6B's shape in bf16: 256 prompts of 128 tokens, 128 new ones each."""
    from sgpo.rollouts.transformers_engine import TransformersEngine

    shape = bench.shape("qwen3-0.6b")
    model = random_model(shape, bench.device, positions=2048)
    model = model.to(torch.bfloat16 if bench.device.type == "cuda" else torch.float32).eval()
    many, long, new = (4, 8, 8) if bench.tiny else (256, 128, 128)
    choose = random.Random(1)
    prompts = [[choose.randrange(5, shape.vocabulary) for _ in range(long)] for _ in range(many)]
    engine = TransformersEngine(model, 0)
    settings = SamplingConfig(max_new_tokens=new, batch_size=many, top_p=1.0)
    bench.peak_gib(reset=True)
    seconds = bench.seconds(lambda: engine.generate(prompts, settings, list(range(many))), 1)
    rate = round(many * new / seconds)
    bench.add(
        "sampling, 0.6B, our engine", rollouts=many, new_tokens=new, tokens_per_second=rate, peak_gib=bench.peak_gib()
    )


SECTIONS = (rates, sgpo_step, trl, grpo_steps, sampling, vocabulary, layouts)


def main() -> None:
    """Run every section; one that fails says so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=("full", "tiny"), default="full")
    parser.add_argument("--eager", action="store_true", help="leave out the rows with compiled layers")
    add_json(parser)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--profile", type=Path, help="write where the time of the first step goes")
    parser.add_argument("--only", nargs="*", choices=[section.__name__ for section in SECTIONS])
    arguments = parser.parse_args()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # lengths of micro-batches differ
    bench = Bench(arguments)
    for section in SECTIONS:
        if arguments.only and section.__name__ not in arguments.only:
            continue
        try:
            section(bench)
        except Exception as error:  # the other sections are worth their time
            bench.add(section.__name__, failed=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
