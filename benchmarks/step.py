"""One optimiser step on the same random rollouts: SGPO with plain rows and with shared prompts, and TRL's GRPOTrainer.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/step.py [--shape testbed|smollm2] [--rounds 3] [--json FILE]
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/step.py --clock cpu [...]       # on a machine that is busy with more

SGPO's step is on 8 autonomous and 4 guided rollouts of each problem: choose targets, look at them with the strategy,
GRPO and distillation, clip, AdamW. TRL's is on 12 autonomous ones, the same sample budget, and does not distil.
Sampling is in neither; weights are random (shapes.py). Every version lives in a process of its own, whose resident
memory's growth is its peak, and they step in turns. In a first round, which warms all up, TRL is tried at several
micro-batch sizes; the fastest stays. The best round of each counts. Useful FLOPs (counts.py) are those of the step with
shared prompts, prompts once.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import torch
from clocks import CLOCKS
from counts import Cost, Counts, step_costs
from measure import add_json, in_turns, no_collections, peak_bytes, product_rate, write_figures
from shapes import SHAPES, Shape, random_model, random_samples
from trl_step import trl_step

from sgpo.algorithms.registry import build
from sgpo.config import TrainingConfig
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.optimisation import make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.step import Gradient
from sgpo.training.world import World

Step = Callable[[], object]
QUICK_S = 20.0
"""Where a round takes less, TRL's sizes are tried twice: the first call of each only warms up."""
_steps: list[Step] = []  # in a process of one version: its step, and what it is timed by
_clock: list[str] = []


def settings(shape: Shape, shared: bool) -> TrainingConfig:
    """Return what every version is trained with."""
    return TrainingConfig(shared_prompts=shared, tokens_per_microbatch=shape.tokens_per_microbatch)


def rollouts(shape: Shape) -> list[ProblemSamples]:
    """Return each problem's rollouts with as many autonomous ones as TRL takes: the whole sample budget."""
    return random_samples(shape, shape.work.autonomous + shape.work.guided)


def own_group(shape: Shape, samples: list[ProblemSamples]) -> list[ProblemSamples]:
    """Return SGPO's part: fewer autonomous ones, and the guided ones."""
    return [replace(sample, autonomous=sample.autonomous[: shape.work.autonomous]) for sample in samples]


def sgpo_step(shape: Shape, shared: bool) -> Step:
    """Return a call of the trainer's part of a step."""
    config, policy = settings(shape, shared), Policy(random_model(shape))
    gradient = Gradient(policy, build(config, 0), config, World(0, 1, torch.device("cpu")), pad_id=0)
    optimizer, samples = make_optimizer(policy, config), own_group(shape, rollouts(shape))

    def step() -> dict[str, float]:
        (minibatch,) = gradient.minibatches(samples, 0, len(samples))
        sums = gradient.accumulate(minibatch)
        optimizer_step(policy, optimizer, 1e-9, config.max_grad_norm)
        return {name: float(sums[name]) for name in ("padded_tokens", "padding_tokens")}

    return step


def prepare(version: str, shape_name: str, folder: str, clock: str) -> None:
    """Build a version in its own process: "plain", "shared", or TRL's rows at a time."""
    _clock[:] = [clock]
    shape = SHAPES[shape_name]
    if version.isdigit():
        _steps.append(trl_step(random_model(shape), rollouts(shape), int(version), folder, settings(shape, False)))
    else:
        _steps.append(sgpo_step(shape, version == "shared"))


def timed_step() -> dict[str, float]:
    """Return seconds and growth of the resident memory of one step, with the tokens that SGPO's computed."""
    before = peak_bytes()
    now = CLOCKS[_clock[0]]
    with no_collections():
        begun = now()
        sums = _steps[0]()
        seconds = now() - begun
    more = sums if isinstance(sums, dict) else {}
    return {"seconds": seconds, "mib": (peak_bytes() - before) / 2**20, **more}


def measure(name: str, rounds: int, clock: str) -> tuple[dict[str, dict[str, float]], float]:
    """Return the best figures of every version, and the product rate: versions step in turns."""
    shape = SHAPES[name]
    trials = [str(rows) for rows in shape.trl_rows]
    rates = [product_rate(clock=clock)]
    context = multiprocessing.get_context("forkserver")  # one process imports for all, and computes nothing
    context.set_forkserver_preload(["sgpo.training.step", "trl.trainer.grpo_trainer"])
    with ExitStack() as stack:
        pools: dict[str, ProcessPoolExecutor] = {}
        for version in ("plain", "shared", *trials):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            arguments = (version, name, folder, clock)
            pools[version] = stack.enter_context(
                ProcessPoolExecutor(1, mp_context=context, initializer=prepare, initargs=arguments)
            )
        steps = {version: lambda pool=pool: pool.submit(timed_step).result() for version, pool in pools.items()}
        results = in_turns(steps, 1)
        if len(trials) > 1 and sum(found["seconds"] for (found,) in results.values()) < QUICK_S:
            again = in_turns({version: steps[version] for version in trials}, 1)
            results = {version: found + again.get(version, []) for version, found in results.items()}
        fastest = min(trials, key=lambda version: min(found["seconds"] for found in results[version]))
        for version in set(trials) - {fastest}:
            pools[version].shutdown()
        left = {version: step for version, step in steps.items() if version in ("plain", "shared", fastest)}
        for version, found in in_turns(left, rounds, lambda: rates.append(product_rate(clock=clock))).items():
            results[version] = results[version][:1] + found
    best = {}
    for version, found in results.items():
        seconds = min(each["seconds"] for each in found)
        best[version] = {**found[-1], "seconds": seconds, "mib": sum(each["mib"] for each in found)}
    return best, max(rates)


def main() -> None:
    """Measure every version and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="testbed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: the processor's seconds, of one thread")
    add_json(parser)
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and torch.get_num_threads() > 1:
        parser.error("--clock cpu counts every thread's seconds (expected OMP_NUM_THREADS=1)")
    shape = SHAPES[arguments.shape]
    best, rate = measure(arguments.shape, arguments.rounds, arguments.clock)
    costs = step_costs(Counts(random_model(shape)), own_group(shape, random_samples(shape, 12)))
    flops = sum(costs.values(), Cost()).flops
    fastest = min((str(rows) for rows in shape.trl_rows), key=lambda version: best[version]["seconds"])
    plain, shared, trl = (best[version]["seconds"] for version in ("plain", "shared", fastest))
    print(
        f"{arguments.shape}, {torch.get_num_threads()} threads, {arguments.clock} clock; "
        f"products at {rate / 1e9:.0f} GFLOP/s"
    )
    print(f"a step needs {flops / 1e9:.1f} GFLOP\n")
    columns = (
        "| step | seconds | against TRL's fastest | share of the product rate | tokens computed | extra peak MiB |"
    )
    print(columns + "\n|---|---|---|---|---|---|")
    labels = {"plain": "SGPO, plain rows", "shared": "SGPO, shared prompts"}
    for version, found in best.items():
        label = labels.get(version, f"TRL GRPOTrainer, {version} rows at a time")
        share = f"{flops / found['seconds'] / rate:.0%}" if version in labels else "-"
        tokens = f"{found['padded_tokens']:,.0f}" if version in labels else "-"
        print(
            f"| {label} | {found['seconds']:.3f} | {found['seconds'] / trl:.2f} | {share} | {tokens} "
            f"| {found['mib']:.0f} |"
        )
    print(f"\nplain over shared {plain / shared:.2f}; SGPO with shared prompts over TRL's fastest {shared / trl:.2f}")
    figures = {
        "shape": arguments.shape, "clock": arguments.clock, "plain_over_shared": plain / shared,
        "sgpo_over_trl": shared / trl,
        "plain_over_trl": plain / trl, "product_rate_share": flops / shared / rate, "useful_flops": flops,
        "trl_rows": int(fastest),
        "padding_share": best["shared"]["padding_tokens"] / best["shared"]["padded_tokens"],
        "seconds": {version: found["seconds"] for version, found in best.items()},
        "extra_mib": {version: found["mib"] for version, found in best.items()},
    }  # fmt: skip
    write_figures(arguments.json, figures, rate)


if __name__ == "__main__":
    main()
