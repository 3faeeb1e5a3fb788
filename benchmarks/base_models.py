"""What a testbed base model can do: alone, told its strategy, and by habit in each decision.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/base_models.py MODEL ... [--decisions 6] [--problems 160] [--k 4]
    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/base_models.py --fresh qwen2 [--decisions 6] [--seeds 0 1]

Asks the problems of the tuning split k times at temperature 1 without and with the right strategy. No two plans of a
problem give the same answer, so an answer tells which plan was followed: `habit` is the share of the unguided answers
that take a decision rightly, of those that are some plan's; `carried` the share of guided answers that are some plan's.
One line of JSON per model. `--fresh` measures the package's base model and one pre-trained here with its settings for
each seed, and says by how much they differ.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.config.testbed import BaseModelConfig, WorldConfig
from sgpo.evaluation.measure import draw
from sgpo.problems import Problem, Verifier
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes, ProblemSamples, Rollout
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.base_model import build_base_model
from sgpo.testbed.bases import RECORD, SHIPPED
from sgpo.testbed.decisions import DECISIONS
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.stories import read
from sgpo.testbed.strategies import describe
from sgpo.testbed.world import build_split
from sgpo.training.world import World

SAMPLING = SamplingConfig(temperature=1.0, top_p=1.0, max_new_tokens=128, batch_size=256)


def followed(rollout: Rollout, problem: Problem) -> Plan | None:
    """The plan whose answer the response gives, if it is any plan's."""
    ledger, right = read(problem.question)
    boxed = re.search(r"\\boxed\{(\d+)\}", rollout.text)
    plans = {ledger.answer(plan): plan for plan in plans_of(len(right.choices))}
    return plans.get(int(boxed[1])) if boxed else None


def strategy_text(problem: Problem) -> str:
    """The right strategy of a problem in words that the problem's id draws."""
    problem_type, approach, steps = describe(read(problem.question)[1], random.Random(problem.id))
    return Strategy(
        problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
        scores=dict.fromkeys(CRITERIA, 1.0), teacher="benchmark", prompt_version="benchmark", candidates_seen=1,
    ).text()  # fmt: skip


def measure_base(model: Path, world: WorldConfig, k: int) -> dict[str, Any]:
    """Pass rates and habits of a model folder on the tuning split."""
    problems = build_split(world, "tuning")
    strategies = {problem.id: strategy_text(problem) for problem in problems}
    with (
        tempfile.TemporaryDirectory() as work,
        Verifier() as verifier,
        open_frozen(model, EngineConfig(), "float32", SAMPLING.batch_size, Path(work)) as (engine, chat),
    ):
        sampler = Sampler(engine, chat, verifier, strategies, 0)
        samples = list(draw(sampler, problems, GroupSizes(k, k), SAMPLING, model.name))
    return {"model": str(model), "decisions": world.decisions, **summary(problems, samples)}


def summary(problems: Sequence[Problem], samples: Sequence[ProblemSamples]) -> dict[str, Any]:
    """Pass rates by group and tier, and the habit in each decision."""
    rates: dict[str, float] = {}
    for group in ("autonomous", "guided"):
        rates[group] = statistics.fmean(drawn.pass_rate(group) for drawn in samples)
        for tier in sorted({problem.difficulty or 0 for problem in problems}):
            of_tier = [drawn for problem, drawn in zip(problems, samples, strict=True) if problem.difficulty == tier]
            rates[f"{group}/tier {tier}"] = statistics.fmean(drawn.pass_rate(group) for drawn in of_tier)
    pairs = list(zip(problems, samples, strict=True))
    guided = [followed(rollout, problem) for problem, drawn in pairs for rollout in drawn.guided]
    alone = [followed(rollout, problem) for problem, drawn in pairs for rollout in drawn.autonomous]
    rights = [read(problem.question)[1] for problem, drawn in pairs for _ in drawn.autonomous]
    plans = [(right, plan) for right, plan in zip(rights, alone, strict=True) if plan is not None]
    habit = (
        {
            decision.name: statistics.fmean(right.choices[index] == plan.choices[index] for right, plan in plans)
            for index, decision in enumerate(DECISIONS[: len(plans[0][0].choices)])
        }
        if plans
        else {}
    )
    rounded = {name: round(value, 3) for name, value in rates.items()}
    return {
        **rounded,
        "habit": {name: round(value, 3) for name, value in habit.items()},
        "some plan's": round(len(plans) / len(alone), 3),
        "carried": round(statistics.fmean(plan is not None for plan in guided), 3),
    }


def pretrained(family: str, decisions: int, seed: int, folder: Path) -> Path:
    """A model pre-trained here with the settings of the package's base model, and another seed."""
    record = json.loads((SHIPPED / f"{family}-{decisions}" / RECORD).read_text(encoding="utf-8"))
    config = BaseModelConfig.model_validate({**record["base_model"], "seed": seed})
    target = folder / f"{family}-{decisions}-seed{seed}"
    build_base_model(config, decisions, target, folder / f"work{seed}", World(0, 1, torch.device("cpu")))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--fresh", choices=("qwen2", "llama"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--decisions", type=int, default=3)
    parser.add_argument("--problems", type=int, default=160)
    parser.add_argument("--k", type=int, default=4)
    arguments = parser.parse_args()
    world = WorldConfig(decisions=arguments.decisions, tuning=arguments.problems)
    for model in arguments.models:
        print(json.dumps(measure_base(model, world, arguments.k)), flush=True)
    if arguments.fresh:
        shipped = measure_base(SHIPPED / f"{arguments.fresh}-{arguments.decisions}", world, arguments.k)
        print(json.dumps(shipped), flush=True)
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                fresh = measure_base(
                    pretrained(arguments.fresh, arguments.decisions, seed, Path(folder)), world, arguments.k
                )
            print(json.dumps(fresh), flush=True)
            print(f"seed {seed} less shipped:", {
                group: round(fresh[group] - shipped[group], 3) for group in ("autonomous", "guided")
            }, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
