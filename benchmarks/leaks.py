"""How well the leak check tells strategies that give the answer away from those that do not.

    .venv/bin/python benchmarks/leaks.py [--json FILE]

The labelled set is tests/strategies/leaks.jsonl. A strategy is refused when `find_leak` refuses it or, as in the
extraction, when the verifier judges one of its expressions equal to the answer. Prints Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import add_json, write_figures
from scipy.stats import binomtest

from sgpo.problems import Verifier
from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.equivalents import find_equivalent
from sgpo.strategies.leaks.leak import find_leak
from sgpo.strategies.parsing import ParsedStrategy

LABELS = Path(__file__).resolve().parents[1] / "tests" / "strategies" / "leaks.jsonl"


@dataclass(frozen=True)
class Judged:
    """One labelled strategy, and what the two checks said."""

    kind: str
    question: str
    is_leak: bool
    by_text: bool
    by_verifier: bool

    @property
    def refused(self) -> bool:
        """By either."""
        return self.by_text or self.by_verifier

    @property
    def first_half(self) -> bool:
        """Whether its question is in the half on which the rules were first written."""
        return hashlib.sha256(self.question.encode()).digest()[0] % 2 == 0


def judge_all() -> list[Judged]:
    """Every record of the labelled set."""
    judged = []
    with Verifier() as verifier:
        for line in LABELS.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            strategy = ParsedStrategy(row["problem_type"], row["approach"], tuple(row["steps"]))
            problem = Problem(question=row["question"], answer=row["answer"])
            by_text = find_leak(strategy, problem) is not None
            by_verifier = not by_text and find_equivalent(strategy, problem, verifier.score) is not None
            judged.append(Judged(row["kind"], row["question"], row["label"] == "leak", by_text, by_verifier))
    return judged


def recall(judged: Sequence[Judged]) -> tuple[int, int]:
    """Leaks refused, of all leaks."""
    leaks = [item for item in judged if item.is_leak]
    return sum(item.refused for item in leaks), len(leaks)


def precision(judged: Sequence[Judged]) -> tuple[int, int]:
    """Leaks, of all refused."""
    refused = [item for item in judged if item.refused]
    return sum(item.is_leak for item in refused), len(refused)


def main() -> None:
    """The two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_json(parser)
    arguments = parser.parse_args()
    judged = judge_all()
    print("| kind | records | refused | of these by the verifier |\n|---|---|---|---|")
    for kind in sorted({item.kind for item in judged}, key=lambda kind: (kind.startswith("clean"), kind)):
        mine = [item for item in judged if item.kind == kind]
        print(f"| {kind} | {len(mine)} | {sum(i.refused for i in mine)} | {sum(i.by_verifier for i in mine)} |")
    print("\n| part | recall | precision |\n|---|---|---|")
    parts = {
        "all": judged,
        "first half": [item for item in judged if item.first_half],
        "second half": [item for item in judged if not item.first_half],
    }
    for name, part in parts.items():
        print(f"| {name} | {_share(*recall(part))} | {_share(*precision(part))} |")
    shares = {
        name: {what: hits / of for what, (hits, of) in (("recall", recall(part)), ("precision", precision(part)))}
        for name, part in parts.items()
    }
    write_figures(arguments.json, {"records": len(judged), "parts": shares})


def _share(hits: int, of: int) -> str:
    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return f"{hits / of:.3f} ({hits} of {of}; {interval.low:.3f} to {interval.high:.3f})"


if __name__ == "__main__":
    main()
