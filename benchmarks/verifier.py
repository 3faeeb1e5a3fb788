"""Every gold answer of the four benchmarks against itself and against wrong answers, and verdicts per minute.

    python benchmarks/verifier.py [folder of the benchmark files] [--json FILE]

prints the tables of docs/measured/verifier.md. The benchmarks are test data and not part of the repository.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import add_json, product_rate, write_figures

from sgpo.problems import Problem, Verdict, Verifier, read_problems
from sgpo.problems.answers import Answer, clean, is_words, read_answer

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"
FILES = ("math500.jsonl", "amc23.jsonl", "olympiadbench.jsonl", "aime24.jsonl")

EXCEPTIONS = {
    "olympiadbench/1970": r"gold `(-\infty, 0) \cup\{1\}$.` has a stray `$.`; read without it, and verifies",
    "olympiadbench/2349": r"gold `221,$8$` (published as `$221,$8$`) has a stray `$`; read as 221 and 8, and verifies",
    "olympiadbench/2045": r"gold `t(0,4]` lost a sign (`t \in (0,4]`); verifies only as printed, not as `(0,4]`",
    "olympiadbench/1965": r"gold is a sentence (`f(x)=ax+b, where ...`); verifies only in the same words",
}
"""Golds that are malformed at the source, and what the verifier makes of them."""

LONG_TEXT = (
    "<think>\nLet me try \\boxed{12345} first. No: $\\frac{1}{2}$ does not fit {at all, 50\\% is 3 km off.\n</think>\n"
    + "We write $a_{n} = \\{1, 2, \\dots, n\\}$, $f(x) = x^2$, so that \\[ \\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}. \\]\n"
    * 40
    + "A first guess is \\boxed{98765}, which fails for $n = 3$.\nTherefore, the answer is $$\\boxed{%s}$$.\n"
)


def present(answer: str) -> str:
    r"""The answer as a model would write it: in the last `\boxed{}` of a long text with other boxes before it."""
    return LONG_TEXT.replace("%s", answer)


@dataclass(frozen=True, slots=True)
class Way:
    """A way of answering the problem at an index, rightly or wrongly; None where it does not apply to that gold."""

    name: str
    right: bool
    answer: Callable[[Sequence[Problem], int], str | None]


def _own_gold(problems: Sequence[Problem], index: int) -> str:
    return problems[index].answer


def _other_words(problems: Sequence[Problem], index: int) -> str | None:
    """The same value, spelled so that mathematics has to see it: lists in reverse, single atoms with + 0."""
    problem = problems[index]
    shape = read_answer(problem.answer, problem.multiple)
    if problem.id in EXCEPTIONS:
        return None
    if shape.kind == "list":
        return ",\\; ".join(_named(part) for part in reversed(shape.parts))
    return f"{_named(shape)} + 0" if _is_expression(shape) else None


def _digit_changed(problems: Sequence[Problem], index: int) -> str | None:
    gold = problems[index].answer
    if not (found := re.search(r"\d(?=\D*$)", gold)):
        return None
    return gold[: found.start()] + str((int(found[0]) + 5) % 10) + gold[found.end() :]


def _one_more(problems: Sequence[Problem], index: int) -> str | None:
    problem = problems[index]
    shape = read_answer(problem.answer, problem.multiple)
    return f"{clean(problem.answer)} + 1" if _is_expression(shape) else None


def _another_row(problems: Sequence[Problem], index: int) -> str:
    """The next gold that is made of other digits and letters."""
    gold = problems[index].answer
    following = [*problems[index + 1 :], *problems[:index]]
    return next(other.answer for other in following if _letters(other.answer) != _letters(gold))


def _one_left_out(problems: Sequence[Problem], index: int) -> str | None:
    problem = problems[index]
    shape = read_answer(problem.answer, problem.multiple)
    if problem.id in EXCEPTIONS or shape.kind not in ("list", "set") or len(shape.parts) < 2:
        return None
    return ", ".join(_named(part) for part in shape.parts[:-1])


def _order_reversed(problems: Sequence[Problem], index: int) -> str | None:
    shape = read_answer(problems[index].answer, problems[index].multiple)
    texts = [part.text for part in shape.parts]
    if shape.kind != "tuple" or texts == texts[::-1]:
        return None
    return shape.brackets[0] + ", ".join(reversed(texts)) + shape.brackets[1]


WAYS = (
    Way("its own gold", True, _own_gold),
    Way("the same in other words", True, _other_words),
    Way("one digit changed", False, _digit_changed),
    Way("one more", False, _one_more),
    Way("another row's gold", False, _another_row),
    Way("one answer left out", False, _one_left_out),
    Way("order of a tuple reversed", False, _order_reversed),
)


def _named(part: Answer) -> str:
    return f"{part.name} = {part.text}" if part.name else part.text


def _letters(text: str) -> list[str]:
    return sorted(re.findall(r"\w", re.sub(r"\\text|\b[a-zA-Z] *(?:=|\\in)", "", clean(text))))


def _is_expression(shape: Answer) -> bool:
    """Whether something can be added to a gold: no tuple, words, unit, number in a base, equation or interval."""
    if shape.kind != "atom" or is_words(shape.text):
        return False
    return not re.search(r"\\text|\\%|%|\\circ|\\cup|=|\\ge|\\le(?![a-z])|\\\$|begin|,|^\d+_|^t\(", shape.text)


def judged(problems: Sequence[Problem], way: Way, verifier: Verifier) -> Iterator[tuple[Problem, str, Verdict]]:
    """(problem, answer, verdict) for each problem the way applies to."""
    answers = [(problem, way.answer(problems, index)) for index, problem in enumerate(problems)]
    asked = [(problem, answer) for problem, answer in answers if answer is not None]
    verdicts = verifier.score_many([(present(answer), problem) for problem, answer in asked])
    for (problem, answer), verdict in zip(asked, verdicts, strict=True):
        yield problem, answer, verdict


def main() -> None:
    """Print, per benchmark and way, how many verdicts came out as they should, then the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    add_json(parser)
    arguments = parser.parse_args()
    counts, rate = [], product_rate()
    print("| benchmark | golds | " + " | ".join(way.name for way in WAYS) + " |")
    print("|---|---|" + "---|" * len(WAYS))
    reasons: Counter[str] = Counter()
    unexpected: list[str] = []
    taken: dict[str, list[float]] = {way.name: [0, 0.0] for way in WAYS}
    with Verifier() as verifier:
        warm = Problem(question="Add.", answer="x+y")
        verifier.score(present("y+x"), warm)  # starts the workers
        for file in FILES:
            problems = read_problems(arguments.folder / file)
            cells = []
            for way in WAYS:
                start = time.perf_counter()
                rows = list(judged(problems, way, verifier))
                taken[way.name][0] += len(rows)
                taken[way.name][1] += time.perf_counter() - start
                good = sum(verdict.correct == way.right for _, _, verdict in rows)
                reasons.update(verdict.reason for _, _, verdict in rows)
                unexpected += [f"{p.id} ({way.name}): {a} -> {v.reason}" for p, a, v in rows if v.correct != way.right]
                cells.append(f"{good} / {len(rows)}" if rows else "-")
                counts.append({"benchmark": file, "way": way.name, "verdicts": len(rows), "as_they_should": good})
            print(f"| {file.removesuffix('.jsonl')} | {len(problems)} | " + " | ".join(cells) + " |", flush=True)
    print("\nverdicts that came out otherwise:", "; ".join(unexpected) or "none")
    print("reasons:", ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    print("malformed at the source:", *(f"\n- {name}: {note}" for name, note in EXCEPTIONS.items()))
    print("\n| answered with | verdicts | seconds | verdicts per minute |\n|---|---|---|---|")
    for name, (count, seconds) in [
        *taken.items(),
        ("all", [sum(column) for column in zip(*taken.values(), strict=True)]),
    ]:
        print(f"| {name} | {count:.0f} | {seconds:.1f} | {60 * count / seconds:,.0f} |")
    speeds = {name: {"verdicts": count, "seconds": seconds} for name, (count, seconds) in taken.items()}
    write_figures(arguments.json, {"counts": counts, "speeds": speeds}, rate)


if __name__ == "__main__":
    main()
