r"""Sets with worked solutions: MATH, MetaMath, OpenR1, DeepMath, and plain `problem` and `answer`.

A solution that a strong model wrote and that ends in its answer's box is the problem's `response`; a publisher's own
solution is not.
"""

import math
import re
from typing import Any

from sgpo.problems.layouts.benchmarks import level
from sgpo.problems.layouts.layout import Layout
from sgpo.problems.responses import final_answer
from sgpo.problems.values import FieldError, Row, answer_fields, number, shown, text

_SAYS = re.compile(r"The answer is:?[^\S\n]*(\S[^\n]*)\s*\Z")


def _math(row: Row) -> dict[str, Any]:
    gold = final_answer(text(row, "solution"))
    if not gold:
        raise FieldError(f"'solution' is {shown(row['solution'])} (expected one with its answer in a \\boxed{{}})")
    return {"question": row["problem"], "answer": gold, "difficulty": level(row)}


def _metamath(row: Row) -> dict[str, Any]:
    *_, line = ("", *text(row, "response").rstrip().splitlines())
    found = _SAYS.search(line)
    if not found:
        raise FieldError(f"'response' is {shown(row['response'])} (expected an end such as The answer is: 2)")
    return {"question": row["query"], "answer": found[1].strip()}


def _openr1(row: Row) -> dict[str, Any]:
    return {
        "id": f"openr1/{row['uuid']}",
        "question": row["problem"],
        **answer_fields(row["answer"]),
        "response": _verified_generation(row),
    }


def _verified_generation(row: Row) -> str | None:
    """Return the first of the strong model's responses that the publisher's verifier accepted; None without any."""
    generations, verdicts = row.get("generations"), row.get("correctness_math_verify")
    if not isinstance(generations, list) or not isinstance(verdicts, list):
        return None
    right = (text for text, good in zip(generations, verdicts, strict=False) if good is True and isinstance(text, str))
    return next(right, None)


def _deepmath(row: Row) -> dict[str, Any]:
    return {
        "question": row["question"],
        **answer_fields(row["final_answer"], "final_answer"),
        # From -1 to 10 in halves; a tier is a whole number from 1.
        "difficulty": max(1, math.floor(number(row, "difficulty"))),
        "response": row.get("r1_solution_1"),
    }


def _plain(row: Row) -> dict[str, Any]:
    return {"question": row["problem"], **answer_fields(row["answer"]), "source": row.get("source")}


LAYOUTS = (
    Layout("math", frozenset({"problem", "level", "type", "solution"}), _math, absent=frozenset({"answer"})),
    Layout("metamath", frozenset({"query", "response"}), _metamath, absent=frozenset({"question", "answer"})),
    Layout("openr1", frozenset({"problem", "solution", "answer", "uuid"}), _openr1, ignores=frozenset({"solution"}),
           uses=frozenset({"generations", "correctness_math_verify"}), optional=frozenset({"solution"})),
    Layout("deepmath", frozenset({"question", "final_answer", "difficulty"}), _deepmath,
           uses=frozenset({"r1_solution_1"})),
    Layout("problem_answer", frozenset({"problem", "answer"}), _plain, absent=frozenset({"question"}),
           uses=frozenset({"source"})),
)  # fmt: skip
