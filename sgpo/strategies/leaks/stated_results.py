"""Whether a text computes, or states a number that the question does not contain and no method is worded with."""

import re
from collections.abc import Sequence
from fractions import Fraction

from sgpo.strategies.leaks.quantities import DIGITS, Quantity, quantities
from sgpo.strategies.leaks.wording import (
    ANGLES_AND_BASES,
    COUNTING,
    DEFINITION,
    REFERENCE,
    SMALL,
    excerpt,
    expression,
    is_result,
)
from sgpo.strategies.refusals import Refusal

_ARITHMETIC = re.compile(
    rf"(?<![\w^.{{]){DIGITS}\s?(?:[-+*/^×·÷]|\\times|\\cdot|\\div|plus|minus|times|divided by)\s?{DIGITS}"
    rf"\s?(?:=|≈|\\approx|is|makes|gives|equals)\s?-?{DIGITS}",
    re.IGNORECASE,
)
_FACTORED = re.compile(r"(?<![\w^.])[0-9]+\s?\^\s?\{?[0-9]+\}?\s?(?:[·*×]|\\cdot|\\times)\s?[0-9]+")
_BRACKETED_SUM = re.compile(r"\(\s?-?[0-9.]+\s?[-+*/·×][\s0-9.+*/·×-]+\)\s?(?:[/*·×]\s?[0-9.]+)?\s?=\s?-?[0-9]")
_BARE_SUM = re.compile(
    rf"(?<![\w^.{{(/\\])-?({DIGITS})\s?[-+×·÷*/]\s?({DIGITS})(?![\w^({{]|\s?[-+*/^=]\s?[A-Za-z\\(]|\s?[/^])"
)
_PAIR = re.compile(rf"(?<![\w^.{{(,])({DIGITS})\s(?:and|,)\s({DIGITS})(?![\w^%])")
_COUNTED = re.compile(
    r"\bthere (?:are|will be|must be) ([0-9]{1,6}) (?!(?:possible |different )?(?:cases?|steps?|parts?|ways?|kinds?"
    r"|types?|options?|possibilit|unknowns?|variables?|equations?|sides?|suits?|faces?|letters?|digits?))",
    re.IGNORECASE,
)
_WORDED_SUM = re.compile(r"\b(?:plus|minus|times|divided by)\s", re.IGNORECASE)
_SUM_RESULT = re.compile(r"\b(?:is|makes|gives|equals)\s?$", re.IGNORECASE)
_NAMED_VALUE = re.compile(
    r"\b(?:period|ratio|difference|edge|radius|diameter|slope|total|sum|product|quotient|remainder|side|length|width"
    r"|height|area|volume|perimeter|mean|average|price|speed|distance)(?:,? which is|\s?=|\sof|\sis)?\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
_PLURAL = re.compile(r"\s[a-z-]+s\b")


def states_result(text: str, numbers: Sequence[Quantity], question: str, given: set[Fraction]) -> Refusal | None:
    """Why `text`, with these numbers in it, does part of the work; `given` are the numbers of `question`."""
    if computation := _ARITHMETIC.search(text) or _BRACKETED_SUM.search(text) or _derived_sum(text, given):
        return Refusal("computes", f"carries out a computation: '{computation[0]}'")
    if _worded_sum(text, numbers):
        return Refusal("computes", f"carries out a computation in words: {excerpt(text)}")
    if (product := _FACTORED.search(text)) and expression(product[0]) not in expression(question):
        return Refusal("computes", f"carries out a factorisation: '{product[0]}'")
    if stated := _derived_count(text, given) or _derived_pair(text, given):
        return Refusal("states_result", f"states '{stated[0]}', not in the question: {excerpt(text)}")
    for number in numbers:
        if number.value in given or DEFINITION.search(number.before):
            continue
        if is_result(number):
            return Refusal("computes", f"gives the result of a computation, {number.written}: {excerpt(text)}")
        if not number.spelled and (not _is_structural(number) or _is_named(number)):
            return Refusal("states_result", f"states {number.written}, not in the question: {excerpt(text)}")
    return None


def _is_named(number: Quantity) -> bool:
    """Whether a number above 2 is given as some quantity of the problem: "period 6", "a total of 90"."""
    if number.value <= 2 or number.attached or not _NAMED_VALUE.search(number.before):
        return False
    return not (number.before.rstrip().endswith(" of") and _PLURAL.match(number.after))


def _is_structural(number: Quantity) -> bool:
    """Whether any method may be worded with this number; a decimal was computed."""
    value = number.value
    if "." in number.written:
        return False
    return value in ANGLES_AND_BASES or (value.numerator <= SMALL and value.denominator <= SMALL)


def _derived_sum(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """Return a sum or product of bare numbers of which one is not the question's: somebody computed it."""
    for match in _BARE_SUM.finditer(text):
        values = [next(quantities(part)).value for part in match.groups()]
        if any(value not in given and value not in COUNTING for value in values):
            if "/" in match[0] and all(value <= SMALL for value in values):
                continue  # a fraction
            return match
    return None


def _derived_pair(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """Two bare numbers above 2 side by side, neither of them the question's."""
    for match in _PAIR.finditer(REFERENCE.sub(" ", text)):
        values = [next(quantities(part)).value for part in match.groups()]
        if all(value not in given and value > 2 and value not in ANGLES_AND_BASES for value in values):
            return match
    return None


def _derived_count(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """Find "There are 4 doublings": a count above 2, in digits, that is not the question's."""
    found = (match for match in _COUNTED.finditer(text) if Fraction(match[1]) > 2 and Fraction(match[1]) not in given)
    return next(found, None)


def _worded_sum(text: str, numbers: Sequence[Quantity]) -> bool:
    """Find "Fourteen plus twenty-three is thirty-seven": an operation between spelled numbers, and its result."""
    spelled = [number for number in numbers if number.spelled]
    if len(spelled) < 3 or not _WORDED_SUM.search(text):
        return False
    return any(_SUM_RESULT.search(number.before) for number in spelled)
