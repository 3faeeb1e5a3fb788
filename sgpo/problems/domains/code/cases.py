"""The tests of a code problem: `assert f(1, 2) == 3` as a call for the sandbox and a value that stays outside."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sgpo.problems.domains.registry import DomainError
from sgpo.problems.schema import Problem

EXPECTED = '\'details\' with {"tests": ["assert f(1, 2) == 3", ...]}, each a call and the literal that it returns'


@dataclass(frozen=True, slots=True)
class Case:
    """A call, as an expression, and the value that it has to return."""

    call: str
    value: Any


def cases_of(problem: Problem) -> tuple[Case, ...]:
    """Return the tests of a problem. Raises DomainError naming the problem and the test that cannot be used."""
    return _cases(problem.id, problem.details)


@lru_cache(maxsize=1024)
def _cases(name: str, details: str | None) -> tuple[Case, ...]:
    tests = json.loads(details).get("tests") if details else None
    if not isinstance(tests, list) or not tests:
        raise DomainError(f"problem '{name}': has no tests (expected {EXPECTED})")
    return tuple(_case(test, f"problem '{name}' test {number}") for number, test in enumerate(tests, start=1))


def _case(test: object, where: str) -> Case:
    try:
        tree = ast.parse(test if isinstance(test, str) else "").body
        statement = tree[0] if len(tree) == 1 else None
        found = statement.test if isinstance(statement, ast.Assert) else None
        if isinstance(found, ast.Compare) and len(found.ops) == 1 and isinstance(found.ops[0], ast.Eq):
            call, value = found.left, found.comparators[0]
            if isinstance(call, ast.Call):
                return Case(ast.unparse(call), ast.literal_eval(value))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise DomainError(f"{where} is {test!r:.100} (expected {EXPECTED})")


def returned(text: str | None, value: Any) -> bool:
    """Whether what a call returned, as `repr`, is the value. What is no literal is not read, and equals nothing."""
    if text is None:
        return False
    try:
        return bool(ast.literal_eval(text) == value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
