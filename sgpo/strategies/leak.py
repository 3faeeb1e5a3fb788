"""Does a strategy give away what it should only lead to? A check that needs no model [SGPO section 2, criterion iv].

A strategy leaks when it states the final answer, states a numeric result that the question does not contain, or carries
out a computation. Numbers that any method is worded with (two cases, 90 degrees, modulo 10) are no results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from sgpo.problems.schema import Problem
from sgpo.strategies.quantities import DIGITS, NUMBER, Quantity, normalised, quantities
from sgpo.strategies.refusals import Refusal

SMALL = 12
"""Whole numbers up to this count cases, variables and powers; they are results only where the wording says so."""
ANGLES_AND_BASES = frozenset(map(Fraction, (15, 16, 24, 30, 36, 45, 60, 64, 72, 90, 100, 120, 180, 360, 1000)))
COUNTING = frozenset(map(Fraction, (0, 1, 2)))
"""Too common to be told from the answer 0, 1 or 2 ("set it equal to 0", "divide by 2") unless it is what comes out."""

_REFERENCE = re.compile(
    r"\b(?:steps?|cases?|parts?|equations?|eqs?\.|methods?|lemma|theorem|rules?)\s?\(?[0-9]{1,2}\b\)?"
    r"(?:\s?(?:,|-|to|and|or|through)\s?\(?[0-9]{1,2}\b\)?)*",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    rf"(?<![\w^.{{]){DIGITS}\s?(?:[-+*/^×·÷]|\\times|\\cdot|\\div|plus|minus|times|divided by)\s?{DIGITS}"
    rf"\s?(?:=|≈|\\approx|is|makes|gives|equals)\s?-?{DIGITS}",
    re.IGNORECASE,
)
_OPENS_VALUE = r"(?:\s?(?:us|you|exactly|about|a total of|to|the value))?\s?[-$\\(]*\s?$"
_EQUALS = re.compile(r"(?:=|≈|\\approx|\bequals?(?:\sto)?)\s?[-$\\(]*\s?$", re.IGNORECASE)
_RESULT_VERB = re.compile(
    r"\b(?:mak(?:es?|ing)|giv(?:es?|ing)|yield(?:s|ing)?|total(?:s|ling)?|becomes?|leav(?:es?|ing)"
    r"|(?:to|we|you) get|getting|obtain(?:s|ing)?|arrives? at|comes? to|results? in|reach(?:es)?"
    rf"|simplif(?:y|ies) to|evaluates? to|works out (?:to|as)){_OPENS_VALUE}",
    re.IGNORECASE,
)
_ANSWER_SAID = re.compile(
    r"(?:\b(?:answer|result|solution|final (?:value|count|number|total))"
    r"\s?(?:is|was|:|=|equals|of|must be|will be|should be)|\\boxed\s?\{)\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
_FORMULA_GOES_ON = re.compile(r"\s?[A-Za-z\\(*/^+-]")


class Described(Protocol):
    """The three parts of a strategy, parsed or stored."""

    @property
    def problem_type(self) -> str: ...
    @property
    def approach(self) -> str: ...
    @property
    def steps(self) -> Sequence[str]: ...


def find_leak(strategy: Described, problem: Problem) -> Refusal | None:
    """Why `strategy` gives away the solution of `problem`, or None when it does not.

    Numbers are compared as exact fractions without their sign; a text answer counts where it stands in the strategy but
    not in the question. Step numbers are not seen: `strategy.steps` is parsed.
    """
    texts = [normalised(text) for text in (strategy.problem_type, strategy.approach, *strategy.steps)]
    question = normalised(problem.question)
    given = {quantity.value for quantity in quantities(question)}
    answers = _numeric_answers(problem.answer)
    worded = [normalised(part) for part in (problem.answer.split(",") if problem.multiple else [problem.answer])]
    stated = [(text, list(quantities(_REFERENCE.sub(" ", text)))) for text in texts]
    for text, numbers in stated:
        said = any(number.value in answers and _gives_answer(number, given) for number in numbers)
        if said or (not answers and any(_states_text(text, question, answer) for answer in worded)):
            return Refusal("states_answer", f"states the final answer '{problem.answer}': {_excerpt(text)}")
    for text, numbers in stated:
        if computation := _ARITHMETIC.search(text):
            return Refusal("computes", f"carries out a computation: '{computation[0]}'")
        for number in numbers:
            if number.value in given:
                continue
            if _is_result(number):
                return Refusal("computes", f"gives the result of a computation, {number.written}: {_excerpt(text)}")
            if not number.spelled and not _is_structural(number):
                return Refusal("states_result", f"states {number.written}, not in the question: {_excerpt(text)}")
    return None


def _gives_answer(number: Quantity, given: set[Fraction]) -> bool:
    """Whether this number, equal to the answer, is there as the answer."""
    if _ANSWER_SAID.search(number.before):
        return True
    if number.value in COUNTING:
        return not number.spelled and _RESULT_VERB.search(number.before) is not None
    if number.value in given:
        return _is_result(number)
    if number.spelled or number.attached:  # "three cases", "x^3"; but "forty-two" and "42km" word no method
        return number.value > SMALL or _RESULT_VERB.search(number.before) is not None
    return True


def _is_result(number: Quantity) -> bool:
    """Whether the wording gives this number as what came out: "= 17", "makes 17"; not "= 0", nor "= 2ab"."""
    if number.value in (0, 1) or (number.spelled and number.value <= SMALL):
        return False
    if _EQUALS.search(number.before):
        return number.value > SMALL or not _FORMULA_GOES_ON.match(number.after)
    return _RESULT_VERB.search(number.before) is not None


def _is_structural(number: Quantity) -> bool:
    """Whether any method may be worded with this number; a decimal was computed."""
    value = number.value
    if "." in number.written:
        return False
    return value in ANGLES_AND_BASES or (value.numerator <= SMALL and value.denominator <= SMALL)


def _numeric_answers(answer: str) -> set[Fraction]:
    """The numbers that an answer consists of: one, with or without a unit, or a list; empty for any other answer."""
    text = normalised(re.sub(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}", r" \1 ", answer))
    text = re.sub(r"\^\s?\{?\s?\\circ\s?\}?|\\[%$,;! ]|[$%°]", " ", text)
    text = re.sub(r"^\s*[a-zA-Z]\s?=", "", text)
    if re.search(r"[\\^_{}()\[\]*+/=]|\b[a-zA-Z]\b", NUMBER.sub(" ", text)):
        return set()
    return {quantity.value for quantity in quantities(text)}


def _states_text(text: str, question: str, answer: str) -> bool:
    """Whether the answer, as an expression or words, stands in `text` and not in the question."""
    wanted = _expression(answer)
    if len(wanted) < 2:  # a letter is too common in words; it counts where it is called the answer
        hits = re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE) if wanted else ()
        return any(_ANSWER_SAID.search(text[: hit.start()]) for hit in hits)
    if wanted in _expression(question):
        return False
    if wanted.isalpha():
        return re.search(rf"(?<!\w){re.escape(_words(answer))}(?!\w)", _words(text)) is not None
    return wanted in _expression(text)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"\\(?:text|mathrm|mathbf)\s?(?=\{)", " ", text))).lower()


def _expression(text: str) -> str:
    """Mathematics without spaces and typography, for comparison."""
    text = re.sub(r"\\(?:left|right|displaystyle|limits)(?![a-zA-Z])|\\[,;:! ]|[$\s]", "", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf)\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".").lower()


def _excerpt(text: str, length: int = 80) -> str:
    return f"'{text if len(text) <= length else text[: length - 1] + '…'}'"
