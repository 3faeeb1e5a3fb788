"""How often does the gate promote? Simulated champions and challengers whose true difference is known.

Every problem has a difficulty of its own: the chance that the champion solves it is drawn from a Beta distribution with
the benchmark's mean and spread, and the challenger's differs from it by a shift (which makes the true difference of the
benchmark) and by chance (SIGMA, in logits: another training is better here and worse there). k responses each are drawn
and go through the real `compare` and `decide` with the settings' defaults. The spreads of the testbed are as measured
on its models (a champion that was trained: mean 0.36, intraclass correlation 0.2; siblings differ by a variance of 0.01
per problem, which is SIGMA = 0.6); for the four benchmarks a 7B model's kind of means and a correlation of 0.5 are
assumed.

`.venv/bin/python benchmarks/gate.py` prints Markdown tables (`--simulations`, `--workers`); no model, no data needed.
Draws are independent between the two models: the shared seeds of a real evaluation can only make intervals narrower.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import optimize, special, stats
from tqdm import tqdm

from sgpo.config import EvaluationConfig, GateConfig
from sgpo.evaluation import Comparison, Outcome, compare
from sgpo.registry import decide

SIGMA = 0.6
CHUNK = 25
EVALUATION, GATE = EvaluationConfig(), GateConfig()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Its problems, the champion's mean chance to solve one, and how unlike they are (0: all alike, 1: all or none)."""

    name: str
    problems: int
    mean: float
    correlation: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """True differences, challenger minus champion, one for each benchmark."""

    name: str
    differences: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of a table: what is simulated, and with how many responses per problem."""

    world: str
    scenario: Scenario
    k: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """Of one simulated comparison: the gate's decision, and what other rules about tiers would have said."""

    promoted: bool
    gained: bool
    clear_fall: bool
    proven_fall: bool
    half_width: float


WORLDS = {
    "testbed, 4 tiers of 60": tuple(
        Benchmark(f"tier {number}", 60, mean, 0.2) for number, mean in enumerate((0.42, 0.40, 0.37, 0.23), start=1)
    ),
    "four benchmarks, 1,245 problems": (
        Benchmark("math500", 500, 0.60, 0.5),
        Benchmark("aime24", 30, 0.08, 0.5),
        Benchmark("amc23", 40, 0.40, 0.5),
        Benchmark("olympiadbench", 675, 0.28, 0.5),
    ),
}
TESTBED, FOUR = WORLDS
EVEN = [Scenario(f"{points:+d}" if points else "0", (points / 100,) * 4) for points in (-5, -2, 0, 2, 5, 8)]
UNEVEN = {
    TESTBED: [
        Scenario("+5: +10, +7, +3, 0", (0.10, 0.07, 0.03, 0.0)),
        Scenario("+5, tier 4 falls by 5", (0.10, 0.08, 0.07, -0.05)),
        Scenario("+5, tier 4 falls by 10", (0.10, 0.10, 0.10, -0.10)),
    ],
    FOUR: [
        Scenario("+5: +6, 0, +2, +4.6", (0.06, 0.0, 0.02, 0.046)),
        Scenario("+5, amc23 falls by 10", (0.055, 0.05, -0.10, 0.055)),
        Scenario("+5, math500 falls by 10", (-0.10, 0.05, 0.05, 0.165)),
    ],
}
OTHER_RESPONSES = (4, 8)


def cells() -> list[Cell]:
    """Everything at the default k; on the testbed no gain and +5 also with fewer and more responses."""
    found = [Cell(world, scenario, EVALUATION.k) for world in WORLDS for scenario in (*EVEN, *UNEVEN[world])]
    return found + [
        Cell(TESTBED, scenario, k) for k in OTHER_RESPONSES for scenario in EVEN if scenario.name in ("0", "+5")
    ]


@cache
def shift(benchmark: Benchmark, difference: float) -> float:
    """The shift in logits that makes the benchmark's true difference, by quadrature over difficulty and chance."""
    logits = special.logit(abilities(benchmark, (np.arange(2000) + 0.5) / 2000))[:, None]
    chance = SIGMA * stats.norm.ppf((np.arange(100) + 0.5) / 100)[None, :]
    champion = special.expit(logits).mean()

    def miss(value: float) -> float:
        return float(special.expit(logits + value + chance).mean() - champion - difference)

    return float(optimize.brentq(miss, -20.0, 20.0))  # pyright: ignore[reportArgumentType]


def abilities(benchmark: Benchmark, quantiles: np.ndarray) -> np.ndarray:
    """The champion's chances at these quantiles of difficulty, away from exact 0 and 1."""
    size = (1.0 - benchmark.correlation) / benchmark.correlation
    chances = stats.beta.ppf(quantiles, benchmark.mean * size, (1.0 - benchmark.mean) * size)
    return np.clip(chances, 1e-9, 1.0 - 1e-9)


def draw(cell: Cell, rng: np.random.Generator) -> tuple[list[Outcome], list[Outcome]]:
    """Outcomes of a champion and a challenger on the same problems."""
    both: tuple[list[Outcome], list[Outcome]] = ([], [])
    for benchmark, difference in zip(WORLDS[cell.world], cell.scenario.differences, strict=True):
        champion = abilities(benchmark, rng.random(benchmark.problems))
        chance = SIGMA * rng.standard_normal(benchmark.problems)
        challenger = special.expit(special.logit(champion) + shift(benchmark, difference) + chance)
        for outcomes, ability in zip(both, (champion, challenger), strict=True):
            solved = (rng.random((benchmark.problems, cell.k)) < ability[:, None]).astype(float).tolist()
            outcomes += [
                Outcome(f"{benchmark.name}/{row}", benchmark.name, tuple(rewards)) for row, rewards in enumerate(solved)
            ]
    return both


def rule(comparison: Comparison) -> Ruling:
    """The gate's decision, and those of the rules that were considered for a tier."""
    gain = comparison.overall.difference
    fallen = [tier.difference for tier in comparison.tiers.values() if tier.difference.value < -GATE.tolerance - 1e-9]
    return Ruling(
        promoted=decide(comparison, GATE).promote,
        gained=gain.low > GATE.margin,
        clear_fall=any(tier.high < 0.0 for tier in fallen),
        proven_fall=any(tier.high < -GATE.tolerance for tier in fallen),
        half_width=(gain.high - gain.low) / 2,
    )


def simulate(cell: Cell, first: int, count: int) -> list[Ruling]:
    """Rulings on simulations `first` and following; each has a seed of its own, whoever computes it."""
    rulings = []
    for number in range(first, first + count):
        name = f"{cell.world}/{cell.scenario.name}/{cell.k}"
        champion, challenger = draw(cell, np.random.default_rng([zlib.crc32(name.encode()), number]))
        rulings.append(rule(compare(champion, challenger, EVALUATION.confidence, EVALUATION.resamples, number)))
    return rulings


def share(flags: Sequence[bool]) -> str:
    """A share in per cent with its 95 % Wilson interval."""
    interval = stats.binomtest(sum(flags), len(flags)).proportion_ci(0.95, method="wilson")
    return f"{100 * sum(flags) / len(flags):.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def print_tables(results: dict[Cell, list[Ruling]]) -> None:
    """How often is promoted, and what the rule about tiers does to it."""
    print("| problems | k | true difference, points | promoted, % | half width of the 95 % interval, points |")
    print("|---|---|---|---|---|")
    for cell, rulings in results.items():
        width = 100 * sum(ruling.half_width for ruling in rulings) / len(rulings)
        promoted = share([ruling.promoted for ruling in rulings])
        print(f"| {cell.world} | {cell.k} | {cell.scenario.name} | {promoted} | {width:.1f} |")
    print("\nPromoted, %, by the rule about tiers:\n")
    print(
        "| problems | true difference | no rule | measured fall (the gate's) | and interval below 0 | "
        "interval below -5 |"
    )
    print("|---|---|---|---|---|---|")
    for cell, rulings in results.items():
        if cell.k == EVALUATION.k and cell.scenario.name not in ("-5", "-2"):
            rules = (
                [ruling.gained for ruling in rulings],
                [ruling.promoted for ruling in rulings],
                [ruling.gained and not ruling.clear_fall for ruling in rulings],
                [ruling.gained and not ruling.proven_fall for ruling in rulings],
            )
            print(f"| {cell.world} | {cell.scenario.name} | {' | '.join(share(flags) for flags in rules)} |")


def main(
    simulations: Annotated[int, typer.Option(min=1, help="Per row")] = 1000,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    json: Annotated[Path | None, typer.Option(help="Write the figures there")] = None,
) -> None:
    """Simulate, and print the tables."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = time.perf_counter()
    results: dict[Cell, list[Ruling]] = {cell: [] for cell in cells()}
    chunks = [(first, min(CHUNK, simulations - first)) for first in range(0, simulations, CHUNK)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(simulate, cell, *chunk): cell for cell in results for chunk in chunks}
        for job in tqdm(as_completed(jobs), total=len(jobs), file=sys.stderr, disable=None):
            results[jobs[job]] += job.result()
    print_tables(results)
    print(
        f"\n{simulations:,} simulations per row, {EVALUATION.resamples} bootstrap resamples; margin {GATE.margin}, "
        f"tolerance {GATE.tolerance}. {time.perf_counter() - begun:.0f} s with {workers} workers."
    )
    from measure import write_figures  # workers start faster without torch

    rows = [
        {"problems": str(cell.world), "k": cell.k, "difference": cell.scenario.name,
         "promoted": float(np.mean([ruling.promoted for ruling in rulings]))}
        for cell, rulings in results.items()
    ]  # fmt: skip
    write_figures(json, {"simulations": simulations, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
