"""Tiny functions: the code domain's problems of the testbed, with a gold program, tests and a worked response."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sgpo.problems.schema import Problem

SOURCE = "tiny functions"
TESTS = 5


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task: its wording, its program, the idea in words, and what it computes.

    `task` and `program` are formatted with the constants `a` and `b`; `strategy` names neither them nor any code.
    """

    name: str
    task: str
    program: str
    idea: str
    strategy: tuple[str, str, tuple[str, ...]]
    compute: Callable[[int, int, Any], Any]
    argument: Literal["number", "numbers", "text"]


FAMILIES = (
    Family(
        "linear", "returns {a} times x, plus {b}", "return {a} * x + {b}", "Scale first, then shift.",
        ("Linear function of a number", "A product and a sum in this order give the result in one expression.",
         ("Multiply the argument by the factor.", "Add the constant.", "Give the sum back.")),
        lambda a, b, x: a * x + b, "number",
    ),
    Family(
        "clamp", "returns x, but at least {a} and at most {a} plus {b}", "return max({a}, min(x, {a} + {b}))",
        "The upper bound cuts first, then the lower one.",
        ("Limiting a number to a range", "The smaller of two and the larger of two, nested, keep a value inside.",
         ("Take the smaller of the argument and the upper bound.", "Take the larger of that and the lower bound.")),
        lambda a, b, x: max(a, min(x, a + b)), "number",
    ),
    Family(
        "count_above", "takes a list x and returns how many of its numbers are greater than {a}",
        "return len([n for n in x if n > {a}])", "Only the greater ones are kept, and then counted.",
        ("Counting the items that meet a condition", "Filtering keeps those that meet it; their number is the count.",
         ("Go through the list and keep what meets the condition.", "Count what was kept; an empty list has none.")),
        lambda a, b, x: sum(n > a for n in x), "numbers",
    ),
    Family(
        "sum_multiples", "takes a list x and returns the sum of its numbers that are divisible by {a}",
        "return sum(n for n in x if n % {a} == 0)", "A number is divisible when the remainder is zero.",
        ("Adding up the items that meet a condition", "The remainder tells divisibility; the sum runs over the rest.",
         ("Test each item by its remainder.", "Add up those that pass; nothing adds up to zero.")),
        lambda a, b, x: sum(n for n in x if n % a == 0), "numbers",
    ),
    Family(
        "every", "takes a list x and returns the list of every {a}-th item, beginning with the first",
        "return x[::{a}]", "A slice with a step leaves the others out.",
        ("Taking items at a regular distance", "A slice of the whole list with a step does it without a loop.",
         ("Begin at the first item.", "Step by the distance to the end.", "An empty list stays empty.")),
        lambda a, b, x: x[::a], "numbers",
    ),
    Family(
        "rotate", "takes a list x of more than {a} items and returns it rotated to the left by {a}",
        "return x[{a}:] + x[:{a}]", "What stands first goes behind the rest.",
        ("Rotating a list", "Two slices that meet at the distance, in exchanged order, are the rotated list.",
         ("Cut the list at the distance.", "Put the second piece before the first.")),
        lambda a, b, x: x[a:] + x[:a], "numbers",
    ),
    Family(
        "repeat", "takes a text x and returns it {a} times, joined by hyphens", "return '-'.join([x] * {a})",
        "The copies are a list that is joined.",
        ("Joining copies of a text", "A list of equal texts is joined by the separator, so none stands at the ends.",
         ("Make a list with as many copies as asked for.", "Join them by the separator.")),
        lambda a, b, x: "-".join([x] * a), "text",
    ),
)  # fmt: skip


def draw_functions(split: Literal["train", "tuning", "held_out"], count: int, seed: int = 0) -> list[Problem]:
    """Return `count` different problems of a split; splits share no task, by a hash of its wording."""
    choose, found = random.Random(f"functions/{seed}/{split}"), dict[str, Problem]()
    for _ in range(200 * count):
        problem = _problem(choose)
        if _split_of(problem.question.partition(" For example,")[0]) == split:
            found[problem.id] = problem
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"{split}: {count} different functions were asked for, there are about {len(found)}")


def family_of(question: str) -> Family:
    """Return the family of a question; LookupError where it is none of these."""
    for family in FAMILIES:
        if re.search(re.escape(family.task).replace(r"\{a\}", r"\d+").replace(r"\{b\}", r"\d+"), question):
            return family
    raise LookupError("no tiny function")


def _problem(choose: random.Random) -> Problem:
    family = choose.choice(FAMILIES)
    small = family.argument != "number" or family.name == "clamp"
    a, b = choose.randint(2, 6 if small else 60), choose.randint(1, 90)
    if family.argument == "numbers" and family.name not in ("every", "rotate"):
        a = choose.randint(2, 60)
    body = family.program.format(a=a, b=b)
    arguments = [_argument(family, a, choose) for _ in range(TESTS)]
    tests = [f"assert f({argument!r}) == {family.compute(a, b, argument)!r}" for argument in arguments]
    answer = f"def f(x):\n    {body}"
    question = f"Write a Python function f(x) that {family.task.format(a=a, b=b)}. For example, {tests[0][7:]}."
    return Problem(
        question=question, answer=answer, domain="code", difficulty=1 + FAMILIES.index(family) // 3, source=SOURCE,
        response=f"{family.idea}\n```python\n{answer}\n```", details=json.dumps({"tests": tests}),
    )  # fmt: skip


def _argument(family: Family, a: int, choose: random.Random) -> Any:
    if family.argument == "number":
        return choose.randint(-20, 99)
    if family.argument == "text":
        return "".join(choose.choice("abcdefgh") for _ in range(choose.randint(1, 4)))
    fewest = a + 1 if family.name in ("every", "rotate") else 1
    return [
        choose.choice((choose.randint(0, 99), a * choose.randint(0, 9))) for _ in range(fewest + choose.randint(0, 4))
    ]


def _split_of(task: str) -> str:
    point = int(hashlib.sha256(task.encode()).hexdigest(), 16) % 10
    return "train" if point < 6 else "tuning" if point < 8 else "held_out"
