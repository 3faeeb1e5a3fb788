"""reasoning-gym through the verifier: every gold of 20 tasks passes, and every shuffled one fails unless it is equal.

python benchmarks/domains.py --problems 5000 --markdown docs/measured/domains.md
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sgpo.problems import Problem, Verifier
from sgpo.problems.domains.exact import normalised
from sgpo.problems.domains.reasoning_gym.source import draw_problems

TASKS = (
    "base_conversion", "basic_arithmetic", "caesar_cipher", "calendar_arithmetic", "chain_sum", "countdown",
    "family_relationships", "fraction_simplification", "gcd", "knights_knaves", "leg_counting",
    "letter_counting", "maze", "mini_sudoku", "number_sequence", "propositional_logic", "shortest_path",
    "spiral_matrix", "syllogism", "word_sorting",
)  # fmt: skip


HEAD = """# Golds and shuffled golds of reasoning-gym's tasks
Every gold answer through our verifier, and every gold as the answer to another problem of its task: the file
that `python benchmarks/domains.py --problems 5000 --markdown docs/measured/domains.md` writes. Golds that a task's own
scorer refuses are left out when problems are drawn. Other load ran beside: the milliseconds are an upper bound.

Held-out figures of the two worked domains: `logic.jsonl` and `code.jsonl` beside this page; what they show:
[domains.md](../domains.md).

"""


@dataclass
class TaskResult:
    """What came of a task's problems: golds that fail, shuffled golds that pass though they differ, and seconds."""

    task: str
    problems: int
    draw_seconds: float
    verdict_seconds: float
    failing: list[tuple[Problem, str]] = field(default_factory=list)
    passing: list[tuple[Problem, str]] = field(default_factory=list)
    equal: int = 0


def measure(task: str, size: int, seed: int, verifier: Verifier) -> TaskResult:
    """Judge the golds of a task, and each gold as the answer to another problem of it."""
    started = time.perf_counter()
    problems = draw_problems(task, size, seed, {}).problems
    drawn = time.perf_counter()
    golds = verifier.present_many(problems)
    shuffled = shuffle(golds, seed)
    verdicts = verifier.score_many(list(zip(golds, problems, strict=True)))
    others = verifier.score_many(list(zip(shuffled, problems, strict=True)))
    judged = time.perf_counter()
    result = TaskResult(task, len(problems), drawn - started, (judged - drawn) / (2 * len(problems)))
    for problem, gold, verdict, other, judged_other in zip(problems, golds, verdicts, shuffled, others, strict=True):
        if not verdict.correct:
            result.failing.append((problem, f"{verdict.reason} {verdict.score}"))
        if normalised(gold) == normalised(other):
            result.equal += 1
        elif judged_other.correct:
            result.passing.append((problem, other))
    return result


def shuffle(golds: list[str], seed: int) -> list[str]:
    """Return the golds in an order in which none has its own place."""
    order = list(range(len(golds)))
    random.Random(seed).shuffle(order)
    moved = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [golds[moved[place]] for place in range(len(golds))]


def table(results: list[TaskResult]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| task | problems | golds that fail | shuffled: equal | shuffled: differ and pass | ms a verdict |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.task} | {one.problems} | {len(one.failing)} | {one.equal} | {len(one.passing)} "
        f"| {one.verdict_seconds * 1000:.1f} |"
        for one in results
    ]
    total = sum(one.problems for one in results)
    sums = [sum(values) for values in zip(*((len(r.failing), r.equal, len(r.passing)) for r in results), strict=True)]
    median = statistics.median(one.verdict_seconds for one in results) * 1000
    return "\n".join([*lines, f"| all | {total} | {sums[0]} | {sums[1]} | {sums[2]} | {median:.1f} (median) |"])


def examples(results: list[TaskResult], most: int = 2) -> str:
    """Return some exceptions of each task, for a person to look at."""
    lines = []
    for result in results:
        for problem, why in result.failing[:most]:
            lines.append(f"{result.task}: gold {problem.answer!r:.60} fails: {why}")
        for problem, other in result.passing[:most]:
            lines.append(f"{result.task}: {other!r:.60} passes for {problem.answer!r:.60}")
        if result.failing:
            lines.append(f"{result.task}: {dict(Counter(why for _, why in result.failing))}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        results = [measure(task, chosen.problems // len(chosen.tasks), chosen.seed, verifier) for task in chosen.tasks]
    print(table(results))
    print(examples(results))
    if chosen.markdown is not None:
        chosen.markdown.write_text(f"{HEAD}{table(results)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
