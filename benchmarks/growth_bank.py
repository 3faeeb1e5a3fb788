"""A bank of strategies of any size, made of random words: what benchmarks/growth.py loads, lists and retrieves from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any


def words(draw: random.Random, number: int) -> str:
    """Return so many words of 5,000, the first ones the most frequent, spelled in letters: digits would be results."""
    places = (int(5000 ** draw.random()) for _ in range(number))
    return " ".join("".join(chr(ord("a") + int(digit)) for digit in f"{place:04d}") for place in places)


def make_bank(size: int, data: Path) -> tuple[list[Any], list[Any]]:
    """Return problems and strategies, one for each; a strategy is one of 200 plans in words of its own."""
    from sgpo.problems import Problem
    from sgpo.strategies.schema import CRITERIA, Strategy

    draw = random.Random(0)
    plans = [words(draw, 12) for _ in range(200)]
    problems, strategies = [], []
    for number in range(size):
        name = f"p{number:07d}"
        problems.append(Problem(id=name, question=f"{words(draw, 40)} {number}?", answer=str(draw.randrange(10**6))))
        scores = {criterion: draw.randrange(11) / 10 for criterion in CRITERIA}
        strategy = Strategy(
            problem_id=name, problem_type=words(draw, 4), approach=draw.choice(plans),
            steps=tuple(words(draw, 10) for _ in range(4)), score=sum(scores.values()) / 4, scores=scores,
            teacher="scripted", prompt_version="v1", candidates_seen=5,
        )  # fmt: skip
        strategies.append(strategy)
    return problems, strategies


def bank_files(size: int, folder: Path) -> Path:
    """Return a data folder with problems, strategies and probe of a bank, written once for all figures."""
    from sgpo.pipeline.splits import ProbedProblem
    from sgpo.problems import Problem, write_problems
    from sgpo.problems.table import write_table
    from sgpo.strategies.schema import StrongResponse

    data = folder / f"bank-{size}"
    if not (data / "probe.parquet").exists():
        problems, strategies = make_bank(size, data)
        (data / "problems").mkdir(parents=True)
        write_problems(problems, data / "problems" / "train.parquet")
        write_problems([Problem(question="held out", answer="1")], data / "problems" / "held_out.parquet")
        write_table(strategies, data / "strategies.parquet")
        solved = [
            StrongResponse(problem_id=p.id, text=p.answer, teacher="scripted", prompt_version="v1", attempt=1)
            for p in problems
        ]
        write_table(solved, data / "responses.parquet")
        probed = [ProbedProblem(problem_id=p.id, autonomous=0.25, guided=0.75, lift=0.5) for p in problems]
        write_table(probed, data / "probe.parquet")
    return data
