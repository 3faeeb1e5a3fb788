"""Answers that a task's scorer may read: some scorers evaluate them as Python, and an answer is a model's text.

Such a scorer is known by its module's source. What gets to it then is a literal, or arithmetic with known functions.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import lru_cache
from typing import Any

_EVALUATES = re.compile(r"(?<![\w.])(?:eval|exec)\(")
_SYMPY = re.compile(r"\b(?:parse_expr|sympify)\(")
_ARITHMETIC = re.compile(r"[0-9A-Za-z \t\n+\-*/^().,]*")
_ATTRIBUTE = re.compile(r"\.\s*[A-Za-z]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_VARIABLE = re.compile(r"[A-Za-z][0-9]*")
_FUNCTIONS = frozenset(
    f"{arc}{hyperbolic}" for arc in ("", "a") for hyperbolic in
    ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "sech", "csch")
) | {"exp", "log", "ln", "sqrt", "cbrt", "Abs", "pi", "erf", "Rational"}  # fmt: skip
_PUZZLE_24 = "puzzle24"


def may_be_scored(answer: str, gold: str, data_set: Any) -> bool:
    """Whether the task's scorer can read an answer without running anything but arithmetic.

    Where the gold has no letter (arithmetic on given numbers), the answer has none: a constant such as E would be a
    number that nobody gave. An integral that is not worked out is no answer: its derivative is always the integrand.
    """
    source = _source(type(data_set).__module__)
    if "sympy" in source and _SYMPY.search(source):
        if not _ARITHMETIC.fullmatch(answer) or _ATTRIBUTE.search(answer):
            return False
        names = set(_NAME.findall(answer))
        if names and not re.search("[A-Za-z]", gold):
            return False
        return all(name in _FUNCTIONS or _VARIABLE.fullmatch(name) for name in names)
    return _is_literal(answer) if _EVALUATES.search(source) else True


def is_made_of_the_numbers(answer: str, entry: dict[str, Any], task: str) -> bool:
    """Whether an answer to `puzzle24` is 24 of the four given numbers: its scorer counts numbers, and cuts 24.5 to 24.

    True for other tasks, whose scorers look.
    """
    if task != _PUZZLE_24:
        return True
    from sympy import parse_expr

    given = sorted(int(number) for number in entry["metadata"]["numbers"])
    return sorted(map(int, re.findall(r"\d+", answer))) == given and bool(parse_expr(answer) == 24)


def _is_literal(answer: str) -> bool:
    """Whether `eval` gives a literal's value, or reads nothing because the text is no Python."""
    try:
        tree = ast.parse(answer.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return True
    except (RecursionError, MemoryError):
        return False
    try:
        ast.literal_eval(tree)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return isinstance(tree.body, ast.Name)  # a word: at most a name that is there, and nothing is called
    return True


@lru_cache(maxsize=256)
def _source(module: str) -> str:
    return inspect.getsource(sys.modules[module])
