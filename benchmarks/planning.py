"""What `sgpo plan` says beside what was measured: this project's figures, and runs that others published.

    .venv/bin/python benchmarks/planning.py [--json FILE]

Nothing is timed here: measured seconds are those of docs/measured/, published ones those of the pages named beside each
row. "fitted" rows gave the constants of sgpo/planning/efficiency.py; the others did not. Takes seconds and no model.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.optimize import brentq

from sgpo.config import RunConfig, load_config
from sgpo.planning import counts
from sgpo.planning.cost import Cost, backward_cost, forward_cost
from sgpo.planning.counts import plain_rows
from sgpo.planning.devices import DEVICES, GIB, Device, find_device
from sgpo.planning.efficiency import GPU, efficiency_of
from sgpo.planning.lengths import Lengths
from sgpo.planning.memory import Memory, memory_of
from sgpo.planning.phases import Machine, phases_of
from sgpo.planning.plan import make_plan
from sgpo.planning.sampling import decode_cost
from sgpo.planning.shapes import SHAPES, Shape
from sgpo.planning.workload import Assumptions, workload_of

H100, H20 = DEVICES["h100"], DEVICES["h20"]
TESTBED = Shape(192, 4, 6, 2, 32, 512, 400, True)
SMOLLM2 = SHAPES["smollm2-135m"]
SMALL = {"1M": Shape(128, 4, 4, 4, 32, 352, 450, False, qkv_bias=True),
         "20M": Shape(512, 6, 8, 8, 64, 1408, 2048, False, qkv_bias=True)}  # fmt: skip
ENDLESS = Assumptions().endless_share
ONE_THREAD = 94.0
"""GFLOP/s of one thread of the machine of rollouts.md, measured on another day: that page gives none."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure that somebody measured, beside the plan's."""

    what: str
    measured: float
    planned: float
    unit: str
    source: str
    fitted: bool

    @property
    def off(self) -> float:
        """Return the plan's error relative to what was measured."""
        return self.planned / self.measured - 1.0


def training(shape: Shape, device: Device, gpus: int, assumed: Assumptions, *overrides: str) -> tuple[float, Memory]:
    """Return seconds of a step without sampling and weight sync, and the memory."""
    config = load_config(None, overrides)
    work = workload_of(config, assumed)
    if config.training.shared_prompts:  # as the layout was when it was measured: a target had a prompt of its own
        prompts = plain_rows(work.prompt, 0, 1) * (work.distillation.predicted / work.lengths.mean)
        work = replace(work, distillation=work.distillation + prompts)
    memory = memory_of(shape, config, work, device, gpus)
    phases = phases_of(Machine(shape, config, device, gpus), work, memory)
    return sum(c.seconds for name, c in phases.items() if name not in ("sampling", "weight sync")), memory


def ours_on_a_gpu() -> list[Check]:
    """Steps on one H100 (docs/measured/gpu.md): bfloat16 products. Rows that are not fitted are of an older state."""
    found = []
    both = ("sharding.precision=bfloat16", "training.tokens_per_microbatch=16384")
    plain = "training.shared_prompts=false"
    eager = "sharding.compile=false"
    grpo = (*both, plain, eager, "training.algorithm.type=grpo", "training.algorithm.autonomous_rollouts=8",
            "training.sampling.max_new_tokens=1792")  # fmt: skip
    sgpo = (*both, "training.problems_per_step=4", "training.sampling.max_new_tokens=1024")
    rows = [
        ("GRPO, 0.6B, 16k tokens", "qwen3-0.6b", (*grpo, "training.problems_per_step=1"), 0.486, 39.94, False),
        ("GRPO, 0.6B, 65k tokens", "qwen3-0.6b", (*grpo, "training.problems_per_step=4"), 1.968, 42.16, False),
        ("SGPO, 1.5B, plain rows, not compiled", "qwen2.5-1.5b", (*sgpo, plain, eager), 1.934, None, True),
        ("SGPO, 1.5B, plain rows, compiled", "qwen2.5-1.5b", (*sgpo, plain), 1.557, 65.33, True),
        ("SGPO, 1.5B", "qwen2.5-1.5b", sgpo, 1.486, 63.9, True),
        ("SGPO, 1.5B, plain rows, not compiled, activations computed again", "qwen2.5-1.5b",
         (*sgpo, plain, eager, "sharding.activation_checkpointing=true"), 2.403, 33.26, False),
    ]  # fmt: skip
    for what, name, overrides, seconds, gib, fitted in rows:
        response = 1024 if name == "qwen2.5-1.5b" else 1792
        planned, memory = training(SHAPES[name], H100, 1, Assumptions(256, 256, response), *overrides)
        found.append(Check(f"{what}: step", seconds, planned, "s", "gpu.md", fitted))
        if gib is not None:
            found.append(Check(f"{what}: peak memory", gib, memory.training / GIB, "GiB", "gpu.md", False))
    shape, reached = SHAPES["qwen2.5-1.5b"], GPU
    only = counts.Extent(0, 0, 8192)
    logprob = backward_cost(shape, H100, "bfloat16", only, reached.vocabulary_passes, False).seconds
    kl = backward_cost(shape, H100, "bfloat16", only, reached.divergence_passes, False)
    kl = (kl + forward_cost(shape, H100, "bfloat16", only, 0.0)).seconds
    found.append(Check("vocabulary, log-probability", 28.7, 1000 * logprob, "ms", "gpu.md", True))
    found.append(Check("vocabulary, forward KL", 41.2, 1000 * kl, "ms", "gpu.md", True))
    shape = SHAPES["qwen3-0.6b"]
    drawn = decode_cost(
        shape, H100, "bfloat16", 128, Lengths(128, 128), 256, 256, reached.transformers_layer_s * shape.layers,
        continuous=False,
    )  # fmt: skip
    found.append(Check("sampling by our engine, 0.6B", 256 * 128 / 6697, drawn.seconds, "s", "gpu.md", True))
    return found


def ours_on_cpus() -> list[Check]:
    """Steps and sampling on two cores; product rates as given beside the figures."""
    found = []
    base = (
        "training.problems_per_step=8",
        "training.sampling.max_new_tokens=40",
        "training.tokens_per_microbatch=2048",
    )
    rows = [("testbed's shape", TESTBED, 191, 1.202, 0.743), ("SmolLM2-135M", SMOLLM2, 201, 50.1, 28.8)]
    for name, shape, gflops, plain, shared in rows:
        device = find_device("cpu", gflops)
        for layout, seconds in (("false", plain), ("true", shared)):
            planned, _ = training(
                shape, device, 1, Assumptions(70, 100, 40), *base, f"training.shared_prompts={layout}"
            )
            what = f"{name}, {'shared prompts' if layout == 'true' else 'plain rows'}: step"
            found.append(Check(what, seconds, planned, "s", "step.md", True))
    one_thread = find_device("cpu", ONE_THREAD)
    for name, rollouts, new, seconds in (("1M", 64, 64, 0.46), ("1M", 512, 64, 2.24), ("20M", 64, 32, 2.18),
                                         ("20M", 512, 32, 11.39)):  # fmt: skip
        shape = SMALL[name]
        host = efficiency_of(one_thread).transformers_layer_s * shape.layers
        read = forward_cost(shape, one_thread, "float32", plain_rows(45, 0, 16), 0.0)
        drawn = decode_cost(shape, one_thread, "float32", 45, Lengths(new, new), rollouts, 512, host, continuous=False)
        what = f"sampling by our engine, {name}, {rollouts} rollouts"
        found.append(Check(what, seconds, (read + drawn).seconds, "s", "rollouts.md", name == "1M"))
    return found


def nemo_rl() -> list[Check]:
    """NeMo RL 0.4, GRPO of Llama 3.1 8B on 16 H100: 2,048 rollouts of 1,060 tokens with their prompts."""
    prompt, mean, rollouts, gpus, shape = 160, 900, 2048, 16, SHAPES["llama-3.1-8b"]
    lengths = Lengths(mean, 4096 - prompt, ENDLESS)
    rows = plain_rows(prompt, mean, rollouts / gpus, lengths.square)
    room = (0.6 * H100.memory - 2 * counts.parameters(shape)) / counts.kv_bytes(shape, 2) / (prompt + mean)
    drawn = decode_cost(shape, H100, "bfloat16", prompt, lengths, rollouts / gpus, room, GPU.vllm_step_s)
    forward = forward_cost(shape, H100, "bfloat16", rows, GPU.scoring_passes)
    update = backward_cost(shape, H100, "bfloat16", rows, GPU.vocabulary_passes, True)
    whole = drawn + forward * 2 + update  # old and reference log-probabilities
    source = "NeMo RL, docs/about/performance-summary.md, r0.4"
    return [Check("Llama 3.1 8B, 16 H100, 2,048 rollouts: step", 97.7, whole.seconds, "s", source, False)]


def verl(mean: float, endless: float = ENDLESS) -> dict[str, Cost]:
    """DAPO of Qwen2.5-Math-7B on 32 H20: 512 x 16 rollouts up to 28K, engines of 4 devices, FSDP2, recomputed."""
    shape, gpus, rollouts, prompt = SHAPES["qwen2.5-7b"], 32, 8192, 150
    lengths = Lengths(mean, 28672, endless)
    rows = plain_rows(prompt, mean, rollouts / gpus, lengths.square)
    room = (0.8 * H20.memory * 4 - 2 * counts.parameters(shape)) / counts.kv_bytes(shape, 2) / (prompt + mean)
    engines = gpus / 4
    return {
        "sampling": decode_cost(shape, H20, "bfloat16", prompt, lengths, rollouts / engines, min(room, 1024.0),
                                GPU.vllm_step_s, devices=4),
        "old log-probabilities": forward_cost(shape, H20, "bfloat16", rows, GPU.scoring_passes),
        "update": backward_cost(shape, H20, "bfloat16", rows, GPU.vocabulary_passes, True),
    }  # fmt: skip


def verl_checks() -> list[Check]:
    """Compare each phase, at the mean response that makes the update as long as it was: the page gives no lengths."""
    published = {"sampling": 357.41, "old log-probabilities": 107.71, "update": 269.80}
    source = "verl, docs/advance/fully_async.md, colocate sync"
    rows = []
    for endless, note in ((ENDLESS, ""), (0.0, ", no endless responses")):
        mean = brentq(lambda m, e=endless: verl(m, e)["update"].seconds - published["update"], 100.0, 9000.0)
        planned = verl(mean, endless)
        what = f"verl, 7B, 32 H20, {mean:.0f} tokens{note}"
        rows += [Check(f"{what}: {name}", seconds, planned[name].seconds, "s", source, name == "update")
                 for name, seconds in published.items()]  # fmt: skip
        whole = sum(cost.seconds for cost in planned.values())
        rows.append(Check(f"{what}: step", 790.10, whole, "s", source, False))
    return rows


def paper() -> list[dict[str, float | str]]:
    """Return hours of the paper's 7B run by device and mean response: it names neither. It took about 17."""
    config: RunConfig = load_config(Path(__file__).parent.parent / "configs" / "qwen2.5-7b.yaml")
    rows: list[dict[str, float | str]] = []
    for kind in ("h100", "a100", "h20"):
        for mean in (1000, 2000, 3000, 4000):
            plan = make_plan(config, SHAPES["qwen2.5-7b"], DEVICES[kind], 32, replace(Assumptions(), response=mean))
            rows.append({"kind": kind, "response": mean, "hours": plan.hours, "step": plan.step_seconds,
                         "sampling": plan.phases["sampling"].seconds})  # fmt: skip
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    checks = [*ours_on_a_gpu(), *ours_on_cpus(), *nemo_rl(), *verl_checks()]
    print("| what | measured | planned | off | fitted | source |\n|---|---|---|---|---|---|")
    for c in checks:
        shown = f"{c.measured:.3g} {c.unit} | {c.planned:.3g} {c.unit} | {c.off:+.0%} | {'yes' if c.fitted else 'no'}"
        print(f"| {c.what} | {shown} | {c.source} |")
    hours = paper()
    print("\n| the paper's 7B run on 32 | mean response | sampling, s | step, s | hours |\n|---|---|---|---|---|")
    for row in hours:
        print(f"| {row['kind']} | {row['response']} | {row['sampling']:.0f} | {row['step']:.0f} | {row['hours']:.1f} |")
    if arguments.json:
        rows = [{"what": c.what, "measured": c.measured, "planned": c.planned, "off": c.off, "fitted": c.fitted}
                for c in checks]  # fmt: skip
        arguments.json.write_text(json.dumps({"checks": rows, "paper": hours}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
