"""Where the next second is: every phase of a step of SGPO against the machine's product rate and copy rate.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/roofline.py [--shape testbed|smollm2|0.5b|1.5b] [--device cuda]
        [--rounds 2] [--json FILE] [--table FILE]

A step has sampling, verifying, choosing targets [SGPO Eq. 4], the guide's forward [Eq. 3], forward, backward, the work
over the vocabulary, the optimiser, and bringing the weights to a sampler with a copy of its own. Weights are random and
as sharp as a trained model's (shapes.py); training is on random rollouts of the same lengths. Useful FLOPs and least
bytes are counted in counts.py: padding and copies are not. "lost" is the seconds beyond the larger of FLOPs over the
product rate and bytes over the copy rate, both measured in this run; the table is sorted by it. The best of the rounds
counts for each phase. Peak memory is all that the process held (on a GPU: that was allocated) in the phase. A second
table says what decoding is made of. On a GPU weights are float32 with bfloat16 products, as training has them there,
and the sampler's copy is bfloat16.
"""

import argparse
import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from counts import Cost, Counts, step_costs
from measure import add_json, copy_rate, no_collections, product_rate, write_figures
from phases import PhaseClock, decode_watched, watched
from shapes import SHAPES, Shape, random_model, random_prompts, random_samples

from sgpo.algorithms.registry import build
from sgpo.config import SamplingConfig, ShardingConfig, TrainingConfig
from sgpo.problems import Problem, Verifier
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.sharding import shard_policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

NO_END = (10**9,)  # an end token that no vocabulary has: every response has its full length
REST = "the trainer's Python"
ANSWER = "So the count goes from 12 to 7, and the room is 30 - 7.\nTherefore the answer is \\boxed{%d}."


@dataclass(frozen=True, slots=True)
class Machine:
    """Rates of the device, the best that was seen in this run."""

    products: float
    copies: float

    def seconds(self, cost: Cost) -> float:
        """Return the least time that the cost takes here."""
        return max(cost.flops / self.products, cost.bytes / self.copies)


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of the table."""

    name: str
    seconds: float
    cost: Cost
    peak: int

    def figures(self, machine: Machine) -> dict[str, Any]:
        """Return the line's numbers."""
        least = machine.seconds(self.cost)
        return {
            "seconds": self.seconds, "useful_flops": self.cost.flops,
            "product_rate_share": self.cost.flops / self.seconds / machine.products,
            "bytes": self.cost.bytes, "copy_rate_share": self.cost.bytes / self.seconds / machine.copies,
            "lost_seconds": self.seconds - least, "roofline_share": least / self.seconds, "peak_mib": self.peak / 2**20,
        }  # fmt: skip


class Step:
    """Everything of one step, at a shape: the trainer, and a sampler with a copy of the weights."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        model = random_model(shape, device)
        sampler = copy.deepcopy(model).to(torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.engine = TransformersEngine(sampler, NO_END)
        self.policy = Policy(model)
        if device.type == "cuda":
            shard_policy(self.policy, World(0, 1, device), ShardingConfig(precision="bfloat16"))
        self.training = TrainingConfig(
            shared_prompts=True, tokens_per_microbatch=shape.tokens_per_microbatch,
            fused_optimizer=device.type == "cuda",
        )  # fmt: skip
        self.optimizer = make_optimizer(self.policy, self.training)
        algorithm = build(self.training, 0)
        self.gradient = Gradient(self.policy, algorithm, self.training, World(0, 1, device), pad_id=0)
        self.samples = random_samples(shape)
        work = shape.work
        self.prompts = [
            prompt for pair in random_prompts(shape)
            for prompt, count in zip(pair, (work.autonomous, work.guided), strict=True) for _ in range(count)
        ]  # fmt: skip
        # One batch, as a step's rollouts are with the default `sampling.batch_size`.
        self.sampling = SamplingConfig(max_new_tokens=work.response, batch_size=len(self.prompts))

    def sample(self) -> None:
        """Draw both groups of every problem."""
        self.engine.generate(self.prompts, self.sampling, list(range(len(self.prompts))))

    def run(self, clock: PhaseClock, verifier: Verifier) -> None:
        """Go through one step, phase by phase."""
        with clock.phase("decode"), watched(
            clock, self.engine.model, lambda tokens: "prompts of sampling" if tokens > 1 else None
        ):  # fmt: skip
            self.sample()
        with clock.phase("verifier"):
            verifier.score_many(
                [(ANSWER % n, Problem(question="How much?", answer="23")) for n in range(len(self.prompts))]
            )
        with watched(clock, self.policy.model, lambda _: "scoring"), clock.phase(REST):
            (minibatch,) = self.gradient.minibatches(self.samples, 0, len(self.samples))
        part: Callable[[int], str] = lambda _: "forward" if torch.is_grad_enabled() else "guide forward"  # noqa: E731
        with watched(clock, self.policy.model, part), clock.phase(REST):
            self.gradient.accumulate(minibatch)
        with clock.phase("optimiser"):
            optimizer_step(self.policy, self.optimizer, 1e-9, self.training.max_grad_norm)
        with clock.phase("weight sync"):
            self.engine.load_weights(self.policy.merged_tensors())

    def sample_by_parts(self, clock: PhaseClock) -> None:
        """Draw both groups again, and count what decoding is made of."""
        model = self.engine.model
        with ExitStack() as stack:
            stack.enter_context(watched(clock, model, lambda tokens: "prompts" if tokens > 1 else None))
            stack.enter_context(decode_watched(clock, model))
            stack.enter_context(clock.phase("norms, rotary, activations, cache, Python"))
            self.sample()

    def costs(self) -> dict[str, Cost]:
        """Return what each phase needs."""
        counts, sampler = Counts(self.policy.model), Counts(self.engine.model)
        prompts = sampler.weights()
        for prompt in set(self.prompts):
            prompts += sampler.forward(len(prompt), [])
        decode = sampler.decoding(self.prompts, self.sampling.max_new_tokens)
        sync = Cost(0.0, counts.parameters * (counts.width + sampler.width))
        costs = step_costs(counts, self.samples)
        return {"prompts of sampling": prompts, "decode": decode, "weight sync": sync, **costs}


def measure(step: Step, rounds: int) -> tuple[list[Phase], dict[str, float], Machine]:
    """Return the phases at their best, decoding's parts in seconds, and the rates; one more round warms up."""
    device = step.device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    best: dict[str, float] = {}
    parts: dict[str, float] = {}
    peak: dict[str, int] = {}
    rates = [(product_rate(device, dtype), copy_rate(device))]
    with Verifier() as verifier, no_collections():
        for number in range(rounds + 1):
            clock, decoding = PhaseClock(device), PhaseClock(device, memory=False)
            step.run(clock, verifier)
            if number == 0:
                continue
            step.sample_by_parts(decoding)
            rates.append((product_rate(device, dtype), copy_rate(device)))
            best = {name: min(value, best.get(name, value)) for name, value in clock.seconds.items()}
            peak = {name: max(value, peak.get(name, 0)) for name, value in clock.peak.items()}
            if not parts or sum(decoding.seconds.values()) < sum(parts.values()):
                parts = dict(decoding.seconds)
    costs = step.costs()
    phases = [Phase(name, seconds, costs.get(name, Cost()), peak[name]) for name, seconds in best.items()]
    return phases, parts, Machine(*(max(rate) for rate in zip(*rates, strict=True)))


def table(phases: list[Phase], parts: dict[str, float], machine: Machine) -> list[str]:
    """Return both tables as Markdown, the phase that loses most first."""
    columns = ("phase", "s", "GFLOP", "of product rate", "GB", "of copy rate", "lost, s", "peak MiB")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    whole = Phase(
        "all", sum(p.seconds for p in phases), sum((p.cost for p in phases), Cost()), max(p.peak for p in phases)
    )
    lost = {phase.name: phase.seconds - machine.seconds(phase.cost) for phase in phases}
    for phase in [*sorted(phases, key=lambda phase: -lost[phase.name]), whole]:
        figures = phase.figures(machine)
        cells = (
            phase.name, f"{phase.seconds:.3f}", f"{phase.cost.flops / 1e9:,.1f}",
            f"{figures['product_rate_share']:.0%}", f"{phase.cost.bytes / 1e9:.2f}",
            f"{figures['copy_rate_share']:.0%}", f"{lost.get(phase.name, sum(lost.values())):.3f}",
            f"{figures['peak_mib']:,.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| sampling is made of | s | of it |", "|---|---|---|"]
    total = sum(parts.values())
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        lines.append(f"| {name} | {seconds:.3f} | {seconds / total:.0%} |")
    return lines


def main() -> None:
    """Measure, print both tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="testbed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--table", type=Path, help="write the tables there as Markdown")
    add_json(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    phases, parts, machine = measure(Step(SHAPES[arguments.shape], device), arguments.rounds)
    what = f"{torch.cuda.get_device_name()}" if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    about = (
        f"{arguments.shape}, {what}: products at {machine.products / 1e9:.0f} GFLOP/s, copies (read and written) at "
    )
    lines = [about + f"{machine.copies / 1e9:.1f} GB/s.", "", *table(phases, parts, machine)]
    print("\n".join(lines))
    if arguments.table:
        arguments.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures = {
        "shape": arguments.shape, "device": str(device), "copy_rate": machine.copies,
        "phases": {phase.name: phase.figures(machine) for phase in phases}, "sampling_parts": parts,
        "training_over_least": _over_least(phases, machine),
    }  # fmt: skip
    write_figures(arguments.json, figures, machine.products)


def _over_least(phases: list[Phase], machine: Machine) -> float:
    """Return the trainer's seconds over the least that they could be."""
    trained = [p for p in phases if p.name not in ("decode", "prompts of sampling", "verifier", "weight sync")]
    return sum(p.seconds for p in trained) / sum(machine.seconds(p.cost) for p in trained)


if __name__ == "__main__":
    main()
