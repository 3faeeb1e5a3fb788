"""Judge generated answers that are right in another spelling, or wrong nearby, and count the verdicts that err.

    python benchmarks/verifier_pairs.py [--pairs 5000] [--seed 0] [--json FILE]

prints the tables of docs/measured/verifier.md, and each pair that was judged wrongly. Exit code 1 when a wrong answer
was accepted. Pairs are right or wrong by construction: values are made first and spelled afterwards (answer_families/).
"""

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from answer_families import FAMILIES
from answer_families.made import Made
from measure import add_json, product_rate, write_figures

from sgpo.problems import Problem, Verdict, Verifier

RIGHT, WRONG = True, False


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold with an answer of which it is known whether it is right."""

    family: str
    kind: str
    right: bool
    problem: Problem
    answer: str


def generated_pairs(number: int, seed: int) -> list[Pair]:
    """Return `number` different pairs: families in turn, one right and one wrong of each, kinds at random."""
    draw = random.Random(seed)
    seen: set[tuple[str, str, str]] = set()
    pairs: list[Pair] = []
    for family in itertools.cycle(FAMILIES):
        for right in (RIGHT, WRONG):
            if len(pairs) == number:
                return pairs
            if made := next(_new(family, draw, right, seen), None):
                pairs.append(made)
    raise AssertionError("cycle never ends")


def _new(
    family: Callable[[random.Random], Made], draw: random.Random, right: bool, seen: set[tuple[str, str, str]]
) -> Iterator[Pair]:
    """Yield a pair that is not in `seen`; nothing when a hundred attempts made none, as where a family is small."""
    for _ in range(100):
        made = family(draw)
        spellings = made.right if right else made.wrong
        kind = draw.choice([kind for kind, answer in spellings.items() if answer])
        answer = str(spellings[kind])
        key = (family.__name__, made.gold, answer)
        if key not in seen and answer != made.gold:
            seen.add(key)
            problem = Problem.model_validate({"question": "What is it?", "answer": made.gold, **made.fields})
            yield Pair(family.__name__.strip("_").replace("_", " "), kind, right, problem, answer)


def judged(pairs: list[Pair], verifier: Verifier) -> list[tuple[Pair, Verdict]]:
    """Return each pair with its verdict."""
    responses = [(f"So the answer is\n\\boxed{{{pair.answer}}}.", pair.problem) for pair in pairs]
    return list(zip(pairs, verifier.score_many(responses), strict=True))


def table(judgements: list[tuple[Pair, Verdict]], name: str) -> list[dict[str, str | int]]:
    """Count, for each value of the pairs' attribute `name`: right, rejected of these, wrong, accepted of these."""
    counts: dict[str, Counter[str]] = {}
    for pair, verdict in judgements:
        row = counts.setdefault(str(getattr(pair, name)), Counter())
        row["right" if pair.right else "wrong"] += 1
        if verdict.correct != pair.right:
            row["false reject" if pair.right else "false accept"] += 1
    columns = ("right", "false reject", "wrong", "false accept")
    rows = [{name: key, **{column: row[column] for column in columns}} for key, row in sorted(counts.items())]
    return [*rows, {name: "all", **{column: sum(row[column] for row in counts.values()) for column in columns}}]


def main() -> int:
    """Judge, print the tables and the errors, and return 1 when a wrong answer was accepted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    arguments = parser.parse_args()
    pairs, rate = generated_pairs(arguments.pairs, arguments.seed), product_rate()
    with Verifier(timeout_s=10.0, workers=2) as verifier:
        judged(pairs[:2], verifier)  # starts the workers
        begun = time.perf_counter()
        judgements = judged(pairs, verifier)
        seconds = (time.perf_counter() - begun) / len(pairs)
    tables = {name: table(judgements, name) for name in ("family", "kind")}
    for name, rows in tables.items():
        print(f"| {name} | " + " | ".join(list(rows[0])[1:]) + " |\n|---|---|---|---|---|")
        print("\n".join("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows) + "\n")
    errors = [(pair, verdict) for pair, verdict in judgements if verdict.correct != pair.right]
    for pair, verdict in errors:
        print(f"{'REJECTED' if pair.right else 'ACCEPTED'} {pair.family}, {pair.kind}: gold {pair.problem.answer!r}, "
              f"answer {pair.answer!r}: {verdict.reason}")  # fmt: skip
    rate = max(rate, product_rate())
    whole = {
        "pairs": len(judgements), "seed": arguments.seed, **tables, "errors": len(errors),
        "seconds_per_verdict": seconds, "flops_in_a_verdict": seconds * rate,
    }  # fmt: skip
    write_figures(arguments.json, whole, rate)
    return int(any(not pair.right for pair, _ in errors))


if __name__ == "__main__":
    sys.exit(main())
