"""What the checks of `leak` share: which wordings give a number as what came out, and how expressions are compared."""

import re
from fractions import Fraction

from sgpo.strategies.leaks.quantities import Quantity

SMALL = 12
"""Whole numbers up to this count cases, variables and powers; they are results only where the wording says so."""
ANGLES_AND_BASES = frozenset(map(Fraction, (15, 16, 24, 30, 36, 45, 60, 64, 72, 90, 100, 120, 180, 360, 1000)))
COUNTING = frozenset(map(Fraction, (0, 1, 2)))
"""Too common to be told from the answer 0, 1 or 2 ("set it equal to 0", "divide by 2") unless it is what comes out."""

REFERENCE = re.compile(
    r"\b(?:steps?|cases?|parts?|equations?|eqs?\.|methods?|lemma|theorem|rules?)\s?\(?[0-9]{1,2}\b\)?"
    r"(?:\s?(?:,|-|to|and|or|through)\s?\(?[0-9]{1,2}\b\)?)*",
    re.IGNORECASE,
)
_OPENS_VALUE = r"(?:\s?(?:us|you|exactly|about|a total of|to|the value))?\s?[-$\\(]*\s?$"
EQUALS = re.compile(r"(?:=|≈|\\approx|\bequals?(?:\sto)?)\s?[-$\\(]*\s?$", re.IGNORECASE)
RESULT_VERB = re.compile(
    r"\b(?:mak(?:es?|ing)|giv(?:es?|ing)|yield(?:s|ing)?|total(?:s|ling)?|becomes?|leav(?:es?|ing)"
    r"|(?:to|we|you) get|getting|obtain(?:s|ing)?|arrives? at|comes? to|results? in|reach(?:es)?"
    rf"|simplif(?:y|ies) to|evaluates? to|works out (?:to|as)){_OPENS_VALUE}",
    re.IGNORECASE,
)
SAID_TO_BE = re.compile(
    r"(?<!there )\b(?:is|are|be|being|equals?|becomes?|remains?)"
    r"(?:\s(?:simply|just|exactly|therefore|thus|hence|then|equal to))?(?:\s(?:negative|minus))?\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
"""A copula before a number. "There are three cases" counts what a method is worded with."""
FORMULA_GOES_ON = re.compile(
    r"\s?(?:[A-Za-z](?![a-z]{2})|(?:sin|cos|tan|cot|log|exp|times|sqrt|abs|gcd|mod)\b|[\\(*/^+-])"
)
DEFINITION = re.compile(r"\b1\s?[a-zA-Z]+\s?=\s?$")
_WHICH_IS = re.compile(r"\b(?:which is|differ by)\s?[-$\\(]*\s?$", re.IGNORECASE)
_CONSTANT_UNIT = re.compile(r"\s?-?\s?(?:°|\^|\\circ|degree|percent|%|minute|second|hour|day)", re.IGNORECASE)
_POINTED_AT = re.compile(r"\b(?:the|these|those|all|requires?|needs?|contains?)\s?$", re.IGNORECASE)


def is_result(number: Quantity) -> bool:
    """Whether the wording gives this number as what came out: "= 17", "makes 17"; not "= 0", nor "= 2ab"."""
    if number.value in (0, 1) or (number.spelled and number.value <= SMALL):
        return False
    if DEFINITION.search(number.before) or (
        number.value in ANGLES_AND_BASES and re.search(r"\breach(?:es)?\s?$", number.before)
    ):
        return False
    if _WHICH_IS.search(number.before) and not number.attached:
        return True
    if EQUALS.search(number.before):
        return number.value > SMALL or not FORMULA_GOES_ON.match(number.after)
    constant = number.value <= SMALL or number.attached or _CONSTANT_UNIT.match(number.after)
    if not constant and (SAID_TO_BE.search(number.before) or _POINTED_AT.search(number.before)):
        return True
    return RESULT_VERB.search(number.before) is not None


def expression(text: str) -> str:
    """Mathematics without spaces and typography, for comparison."""
    text = re.sub(r"\\(?:left|right|displaystyle|limits)(?![a-zA-Z])|\\[,;:! ]|[$\s]", "", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf)\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".").lower()


def excerpt(text: str, length: int = 80) -> str:
    """Return a text in quotes, cut to `length` characters."""
    return f"'{text if len(text) <= length else text[: length - 1] + '…'}'"
