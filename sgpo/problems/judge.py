"""Equality of single mathematical expressions, by math-verify. Runs only in processes that can be killed:
some inputs (power towers) never return, and parsing a model's text is not safe to do in the caller.
"""

import logging
import math
import re
import resource
from fractions import Fraction
from typing import Literal

import sympy
from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
from math_verify import parse, verify
from math_verify.parser import LatexExtractionConfig

from sgpo.problems.answers import read_number, rounds_to
from sgpo.problems.comparison import Expectation, UnparsableError, meets

logger = logging.getLogger(__name__)

Judgement = Literal["correct", "wrong", "unparsable", "crashed"]

_PARSER = LatexExtractionConfig(
    try_extract_without_anchor=False,  # no guesses from text around it
    boxed_match_priority=0,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="last", equations=False
    ),
)
_EXACT, _ROUNDED = 1e-12, 1e-6
"""Largest relative difference of equal values, without and with decimals in them."""


def prepare(memory_bytes: int) -> None:
    """Worker start: bound the memory, silence the library's advice, and load its grammar (the first parse is slow)."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    _parse("\\frac{x}{2}+1")


def judge(expected: Expectation, text: str, cpu_seconds: float) -> Judgement:
    """Return the judgement on an extracted answer.

    `cpu_seconds` is enforced by the kernel on this process, so that it ends even when its parent is no longer there
    to kill it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))
    try:
        return "correct" if meets(expected, text, equal_mathematics) else "wrong"
    except UnparsableError:
        return "unparsable"
    except Exception:
        # Whatever a computer algebra system raises on a model's text is told, and costs this verdict only.
        logger.warning("judging %r against %r failed", text[:200], expected.text, exc_info=True)
        return "crashed"


def equal_mathematics(gold: str, answer: str, tolerance: Fraction | None) -> bool:
    """Whether two LaTeX atoms are equal, within `tolerance` (absolute) where there is one.

    The order matters: math-verify's comparison is not symmetric. Raises UnparsableError where either is no mathematics.
    """
    expected, given = _parse(gold), _parse(answer)
    if expected is None or given is None:
        raise UnparsableError(answer if given is None else gold)
    value, given_value = _value(expected), _value(given)
    if value is not None and given_value is not None:
        if tolerance is not None:
            return bool(abs(value - given_value) <= sympy.Rational(tolerance.numerator, tolerance.denominator))
        if (number := read_number(answer)) and number.decimals is not None:
            above, below = sympy.fraction(sympy.Rational(value))
            return rounds_to(Fraction(int(above), int(below)), number)
        if not _close(value, given_value, exact=not (expected.has(sympy.Float) or given.has(sympy.Float))):
            return False  # 1/2004! is not 1/2006!, though both are 0 to 15 decimals
    if _differs_in_case(gold, answer):
        return False
    try:
        if verify([expected], [given], timeout_seconds=None, allow_set_relation_comp=True, raise_on_error=True):
            return True
        # A lone symbol is compared by name only: n is 2n/2 all the same.
        lone = isinstance(expected, sympy.Symbol) or isinstance(given, sympy.Symbol)
        if lone and sympy.simplify(expected.doit() - given.doit()) == 0:  # type: ignore[operator]
            return True
        return _same_equation(expected, given) or _equal_where_real(expected, given)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # sympy has no common base for "these two cannot be compared"
        return False


def _same_equation(expected: sympy.Basic, given: sympy.Basic) -> bool:
    """Whether two equations have the same left side minus right side, but for a factor that is not zero."""
    if not (isinstance(expected, sympy.Eq) and isinstance(given, sympy.Eq)):
        return False
    ratio = sympy.simplify((expected.lhs - expected.rhs) / (given.lhs - given.rhs))  # type: ignore[operator]
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


_POINTS = (
    sympy.Rational(17, 7),
    sympy.Rational(5, 13),
    sympy.Rational(31, 3),
    sympy.Rational(-17, 7),
    sympy.Rational(-5, 13),
)


def _equal_where_real(expected: sympy.Basic, given: sympy.Basic) -> bool:
    r"""Whether two expressions in one real variable are equal wherever both are real, as \sqrt{1/n} and 1/\sqrt{n}."""
    if not (isinstance(expected, sympy.Expr) and isinstance(given, sympy.Expr) and given.has(sympy.Pow, sympy.Float)):
        return False
    names = [{str(symbol) for symbol in side.free_symbols} for side in (expected, given)]
    if names[0] != names[1] or len(names[0]) != 1:
        return False
    positive = sympy.Symbol(names[0].pop(), positive=True)  # the parser's own symbols of one name may differ
    left, right = (
        sympy.nsimplify(side.doit().subs(dict.fromkeys(side.free_symbols, positive)), rational=True)
        for side in (expected, given)
    )
    compared = 0
    for point in _POINTS:
        values = [sympy.N(side.subs(positive, point), 30) for side in (left, right)]
        if all(value.is_real and value.is_finite for value in values):
            if not _close(*values, exact=True):
                return False
            compared += 1
    return compared >= 3 and sympy.simplify(left - right) == 0


def _parse(text: str) -> sympy.Basic | None:
    found = parse(f"\\boxed{{{text}}}", [_PARSER], fallback_mode="no_fallback", parsing_timeout=None)  # type: ignore[arg-type]
    return found[0] if found and not isinstance(found[0], str) else None


def _value(expression: sympy.Basic) -> sympy.Expr | None:
    """Return a real number to 40 digits, or None where the expression is something else."""
    if not isinstance(expression, sympy.Expr) or not expression.is_number:
        return None
    value = sympy.N(expression.doit(), 40)
    return value if value.is_Float or value.is_Rational else None


def _close(left: sympy.Expr, right: sympy.Expr, exact: bool) -> bool:
    largest = max(abs(left), abs(right))
    return bool(abs(left - right) <= (_EXACT if exact else _ROUNDED) * largest)


def _differs_in_case(gold: str, answer: str) -> bool:
    """Whether a letter of the answer stands in the gold only in its other case: the parser lowers N to n."""
    letters, given = (set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", text))) for text in (gold, answer))
    return any(letter not in letters and letter.swapcase() in letters for letter in given)
