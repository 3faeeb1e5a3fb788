"""What is a retrieved strategy worth? The testbed's held-out problems, and the bank of the training problems.

The base model answers every held-out problem k times: without a strategy, with its own (which the strong model wrote
for this very problem, through the real extraction), with the one that the bank gives for its question, and with a
random one of the bank. The problems are the same each time, so differences are paired. Needs data/base/qwen2 (or a
model folder as the argument) and data/strategies.parquet: run `make demo` once before, then
`.venv/bin/python benchmarks/retrieval.py`. Prints two tables as Markdown; the held-out strategies and their journal
are kept in runs/retrieval; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from measure import add_json, write_figures

from sgpo.config import RunConfig, load_config
from sgpo.config.pipeline import load_params
from sgpo.evaluation import Estimate, Outcome, compare, score
from sgpo.evaluation.measure import draw
from sgpo.pipeline.teacher import recorded_teacher
from sgpo.problems import Problem, Verifier, read_problems
from sgpo.problems.tiers import tiers_of
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.schema import GroupSizes
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.extraction import extract_all
from sgpo.strategies.responses import respond_all
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.retrieval import StrategyIndex
from sgpo.testbed.stories import read

DATA, FOLDER = Path("data"), Path("runs/retrieval")
K = 8
SEED = 0
NONE, OWN = "none", "its own, by the strong model"
BANK_SIZES = (25, 50, 100, 200)
DRAWS = 20

Bank = Mapping[str, Strategy]


def extract_own(problems: Sequence[Problem]) -> Bank:
    """The strong model's strategies for these problems; the journal answers what was requested before."""
    params = load_params(Path("params.yaml"))
    responses, strategies = FOLDER / "responses.parquet", FOLDER / "strategies.parquet"

    async def ask() -> None:
        with Verifier() as verifier:
            async with recorded_teacher(params, problems, FOLDER) as teacher:
                await respond_all(
                    problems, teacher, verifier.score, params.strategies, responses=responses,
                    refusals=FOLDER / "responses_refused.jsonl",
                )  # fmt: skip
                await extract_all(
                    problems, teacher, params.strategies, responses=responses, strategies=strategies,
                    refusals=FOLDER / "strategies_refused.jsonl",
                )  # fmt: skip

    asyncio.run(ask())
    return load_strategies(strategies, problems)


def retrieve(index: StrategyIndex, problems: Sequence[Problem]) -> Bank:
    """The first strategy that the bank gives for each question."""
    matches = index.nearest([problem.question for problem in problems])
    return {problem.id: found[0].strategy for problem, found in zip(problems, matches, strict=True)}


def share_right(problems: Sequence[Problem], strategies: Bank) -> float:
    """Share of the problems whose strategy names the plan that their wording calls for."""
    right = [strategies[problem.id].approach.startswith(f"{read(problem.question)[1].name},") for problem in problems]
    return sum(right) / len(right)


def share_right_by_size(training: Sequence[Problem], bank: Bank, problems: Sequence[Problem]) -> dict[int, list[float]]:
    """Size of the bank -> the share of right plans, for DRAWS random banks of this size."""
    choose, names = random.Random(SEED), sorted(bank)
    return {
        size: [
            share_right(problems, retrieve(StrategyIndex(training, {name: bank[name] for name in part}), problems))
            for part in (choose.sample(names, size) for _ in range(DRAWS))
        ]
        for size in BANK_SIZES
    }


def answer(config: RunConfig, model: Path, problems: list[Problem], strategies: Bank | None) -> list[Outcome]:
    """K responses to every problem, guided by its strategy where there are some."""
    network, tokenizer = load_model(model)
    texts = {} if strategies is None else {name: strategy.text() for name, strategy in strategies.items()}
    sizes = GroupSizes(K, 0) if strategies is None else GroupSizes(0, K)
    with Verifier() as verifier:
        sampler = Sampler(TransformersEngine(network, tokenizer), tokenizer, verifier, texts, SEED)
        samples = draw(sampler, problems, sizes, config.evaluation.sampling, "answers")
        tiers = tiers_of(problems)
        return [
            Outcome(
                drawn.problem_id, tiers[drawn.problem_id],
                tuple(rollout.reward for rollout in (*drawn.autonomous, *drawn.guided)),
            )
            for drawn in samples
        ]  # fmt: skip


def main() -> None:
    """Make what is missing, measure, and print."""
    arguments = read_arguments()
    figures: dict[str, float] = {}
    torch.set_num_threads(1)
    config = load_config("configs/testbed.yaml")
    confidence, resamples = config.evaluation.confidence, config.evaluation.resamples
    training = read_problems(DATA / "problems" / "train.parquet")
    bank = load_strategies(DATA / "strategies.parquet", training)
    held_out = read_problems(DATA / "problems" / "held_out.parquet")
    own = extract_own(held_out)
    problems = [problem for problem in held_out if problem.id in own]
    choose = random.Random(SEED)
    ways: dict[str, Bank | None] = {
        NONE: None,
        "random, of the bank": {problem.id: choose.choice(list(bank.values())) for problem in problems},
        "retrieved from the bank": retrieve(StrategyIndex(training, bank), problems),
        OWN: own,
    }
    outcomes = {name: answer(config, arguments.model, problems, strategies) for name, strategies in ways.items()}

    print(f"\n{len(problems)} of {len(held_out)} held-out problems, {K} responses each, bank of {len(bank)}\n")
    columns = ("strategy in the prompt", "names the right plan", f"avg@{K}", "against none", "against its own")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, strategies in ways.items():
        right = "-" if strategies is None else f"{share_right(problems, strategies):.1%}"
        rate = score(outcomes[name], confidence, resamples, SEED).overall.avg_at_k
        cells, figures[name] = [name, right, percent(rate, "")], rate.value
        for reference in (NONE, OWN):
            gain = compare(outcomes[reference], outcomes[name], confidence, resamples, SEED).overall.difference
            cells.append("-" if reference == name else percent(gain, "+"))
        print(f"| {' | '.join(cells)} |")
    print(f"\n| strategies in the bank | right plan retrieved, mean of {DRAWS} random banks | lowest | highest |")
    print("|---|---|---|---|")
    for size, shares in share_right_by_size(training, bank, problems).items():
        print(f"| {size} | {sum(shares) / DRAWS:.1%} | {min(shares):.1%} | {max(shares):.1%} |")
    write_figures(arguments.json, {"problems": len(problems), "samples": K, "avg_at_k": figures})


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=DATA / "base" / "qwen2")
    add_json(parser)
    return parser.parse_args()


def percent(estimate: Estimate, sign: str) -> str:
    """An estimate in per cent with its interval; `sign` is "+" for a difference."""
    value, low, high = (f"{100 * number:{sign}.1f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
