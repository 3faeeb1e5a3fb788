"""Does a strategy give away what it should only lead to? A check that needs no model [SGPO section 2, criterion iv].

A strategy leaks when it states the final answer, states a numeric result that the question does not contain, or carries
out a computation. Numbers that any method is worded with (two cases, 90 degrees, modulo 10) are no results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
_SAID_TO_BE = re.compile(
    r"(?<!there )\b(?:is|are|be|being|equals?|becomes?|remains?)"
    r"(?:\s(?:simply|just|exactly|therefore|thus|hence|then|equal to))?(?:\s(?:negative|minus))?\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
"""A copula before a number. "There are three cases" counts what a method is worded with."""
_POINTED_AT = re.compile(r"\b(?:the|these|those|all|requires?|needs?|contains?)\s?$", re.IGNORECASE)
_PUT_IN = re.compile(
    r"\b(?:put|plug|insert|substitut\w+|try)(?:\s(?:in|the value|back))?\s?[-$\\(]*\s?$", re.IGNORECASE
)
_CONCLUDED = re.compile(
    r"\b(?:conclud\w+|find\w*|get\w*|obtain\w*|so|hence|thus|therefore|lead\w* to|giv\w+|leav\w+)"
    r"(?:\s(?:that|us))?\s?,?\s?\$?[a-zA-Z]\s?=\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
_MADE_EQUAL = re.compile(r"\bmak(?:es|ing)\b[^.;]*\bequal to\s?[-$\\(]*\s?$", re.IGNORECASE)
_CALLED_ANSWER = re.compile(
    r"[\s$\\)]*(?:is|being|as) the (?:only |real |required |desired |final )*(?:answer|solution|root|result|value)\b",
    re.IGNORECASE,
)
_HOW_OFTEN = re.compile(r"\b(?:exactly|only|just|precisely)\s?$", re.IGNORECASE)
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
_BOUND = re.compile(
    rf"[A-Za-z]\s?(?:\\leq?|\\geq?|≤|≥|<|>|<=|>=)\s?-?\s?{DIGITS}|{DIGITS}\s?(?:\\leq?|≤|<|<=)\s?[A-Za-z]"
)
_INTERVAL = re.compile(r"^\s?[$\\(left]*[\[(].*(?:,|\.\.).*[\])]")
_CONSTANT_UNIT = re.compile(r"\s?-?\s?(?:°|\^|\\circ|degree|percent|%|minute|second|hour|day)", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"\b(\w+)(?:,? or |, (?:\w+,? )*or )(\w+)", re.IGNORECASE)
_CONDITION = re.compile(
    r"\b(?:if|when|whether|whenever|unless|for|of|with|either|neither|both|or)\b[^.;:]*$", re.IGNORECASE
)
_ENUMERATED = re.compile(r"\w+, (?:\w+,? )*(?:and|or) \w+", re.IGNORECASE)
_CONTRASTED = re.compile(r"\ban? \w+ (?:from|and|or|versus|rather than) an? \w+", re.IGNORECASE)
_DECIDED = re.compile(
    r"\s?\$?\s?(?:wins|comes? out (?:\w+ )?(?:ahead|on top)"
    r"|(?:is|are) (?:the )?(?:\w+est|more|less|most|least|larger|greater|bigger|smaller)\b)",
    re.IGNORECASE,
)
_FORMULA_GOES_ON = re.compile(
    r"\s?(?:[A-Za-z](?![a-z]{2})|(?:sin|cos|tan|cot|log|exp|times|sqrt|abs|gcd|mod)\b|[\\(*/^+-])"
)
_SHOWN_COUNT = re.compile(
    r"\b(?:shows?|see|conclud\w+|find|means?|tells?|follows)(?: us)? that there (?:are|is)(?: exactly| only)?\s?$",
    re.IGNORECASE,
)
_NAMED_VALUE = re.compile(
    r"\b(?:period|ratio|difference|edge|radius|diameter|slope|total|sum|product|quotient|remainder|side|length|width"
    r"|height|area|volume|perimeter|mean|average|price|speed|distance)(?:,? which is|\s?=|\sof|\sis)?\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
_WHICH_IS = re.compile(r"\b(?:which is|differ by)\s?[-$\\(]*\s?$", re.IGNORECASE)
_PLURAL = re.compile(r"\s[a-z-]+s\b")
_FACTORED = re.compile(r"(?<![\w^.])[0-9]+\s?\^\s?\{?[0-9]+\}?\s?(?:[·*×]|\\cdot|\\times)\s?[0-9]+")
_BRACKETED_SUM = re.compile(r"\(\s?-?[0-9.]+\s?[-+*/·×][\s0-9.+*/·×-]+\)\s?(?:[/*·×]\s?[0-9.]+)?\s?=\s?-?[0-9]")
_DEFINITION = re.compile(r"\b1\s?[a-zA-Z]+\s?=\s?$")
_MONEY = re.compile(r"\b([a-z -]+?) (?:dollars|euros|pounds) and ([a-z-]+) (?:cents|pence)\b", re.IGNORECASE)
_UNIT_NAMES = {"g": "gram", "kg": "kilogram", "m": "met", "km": "kilomet", "cm": "centimet", "s": "second", "h": "hour",
               "min": "minute", "$": "dollar", "€": "euro", "%": "percent", "l": "lit"}  # fmt: skip


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
        unit = _unit_of(problem.answer)
        said = any(
            _equals_one(number, answers) and (_gives_answer(number, given) or _has_unit(number, unit))
            for number in (*numbers, *_money(text))
        )
        if said or (not answers and any(_states_text(text, question, answer) for answer in worded)):
            return Refusal("states_answer", f"states the final answer '{problem.answer}': {_excerpt(text)}")
        if _states_interval(text, problem.answer, question):
            return Refusal("states_answer", f"states the final answer '{problem.answer}': {_excerpt(text)}")
    for text, numbers in stated:
        if computation := _ARITHMETIC.search(text) or _BRACKETED_SUM.search(text) or _derived_sum(text, given):
            return Refusal("computes", f"carries out a computation: '{computation[0]}'")
        if _worded_sum(text, numbers):
            return Refusal("computes", f"carries out a computation in words: {_excerpt(text)}")
        if (product := _FACTORED.search(text)) and _expression(product[0]) not in _expression(question):
            return Refusal("computes", f"carries out a factorisation: '{product[0]}'")
        if count := _derived_count(text, given):
            return Refusal("states_result", f"states '{count[0]}', not in the question: {_excerpt(text)}")
        if pair := _derived_pair(text, given):
            return Refusal("states_result", f"states '{pair[0]}', not in the question: {_excerpt(text)}")
        for number in numbers:
            if number.value in given or _DEFINITION.search(number.before):
                continue
            if _is_result(number):
                return Refusal("computes", f"gives the result of a computation, {number.written}: {_excerpt(text)}")
            if not number.spelled and (not _is_structural(number) or _is_named(number)):
                return Refusal("states_result", f"states {number.written}, not in the question: {_excerpt(text)}")
    return None


def _gives_answer(number: Quantity, given: set[Fraction]) -> bool:
    """Whether this number, equal to the answer, is there as the answer."""
    if _ANSWER_SAID.search(number.before) or _CALLED_ANSWER.match(number.after):
        return True
    if _CONCLUDED.search(number.before) and not _FORMULA_GOES_ON.match(number.after):
        return True
    if _SHOWN_COUNT.search(number.before):
        return True
    if number.value in COUNTING:
        if number.spelled:
            return _HOW_OFTEN.search(number.before) is not None
        said = number.value != 0 and not number.attached and _SAID_TO_BE.search(number.before) is not None
        return said or (_RESULT_VERB.search(number.before) or _MADE_EQUAL.search(number.before)) is not None
    if _PUT_IN.search(number.before) and not number.attached:
        return True
    said_to_be = _SAID_TO_BE.search(number.before) is not None and not number.attached
    if number.value in given:
        return _is_result(number) or said_to_be
    if number.spelled or number.attached:  # "three cases", "x^3"; but "forty-two" and "42km" word no method
        if number.spelled and number.value.denominator > 1 and number.after.startswith(" of"):
            return False  # "one half of the base"
        part = number.spelled and number.value.denominator > 1
        return number.value > SMALL or part or said_to_be or _RESULT_VERB.search(number.before) is not None
    return True


def _unit_of(answer: str) -> str:
    """The unit of an answer such as "2 hours", "5 g" or "\\$3", as its word begins; empty without one."""
    text = normalised(re.sub(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}", r" \1 ", answer)).replace("\\", "")
    found = re.search(r"[$€%]|[a-zA-Z]+", NUMBER.sub(" ", text))
    return _UNIT_NAMES.get(found[0], found[0].rstrip("s")) if found else ""


def _has_unit(number: Quantity, unit: str) -> bool:
    """Whether a number has the answer's unit behind it."""
    return len(unit) > 1 and re.match(rf"\s?{re.escape(unit)}", number.after, re.IGNORECASE) is not None


def _money(text: str) -> Iterator[Quantity]:
    """ "Five dollars and twenty cents" as 5.20 dollars."""
    for match in _MONEY.finditer(text):
        whole, hundredths = ([q for q in quantities(part) if q.spelled] for part in match.groups())
        if whole and hundredths:
            yield Quantity(whole[-1].value + hundredths[0].value / 100, match[0], "", " dollars", spelled=True)


def _equals_one(number: Quantity, answers: set[Fraction]) -> bool:
    """Whether a number is one of the answers, a percentage as its hundredth too."""
    if number.value in answers:
        return True
    return re.match(r"\s?(?:\\?%|percent)", number.after) is not None and number.value / 100 in answers


def _is_result(number: Quantity) -> bool:
    """Whether the wording gives this number as what came out: "= 17", "makes 17"; not "= 0", nor "= 2ab"."""
    if number.value in (0, 1) or (number.spelled and number.value <= SMALL):
        return False
    if _DEFINITION.search(number.before) or (
        number.value in ANGLES_AND_BASES and re.search(r"\breach(?:es)?\s?$", number.before)
    ):
        return False
    if _WHICH_IS.search(number.before) and not number.attached:
        return True
    if _EQUALS.search(number.before):
        return number.value > SMALL or not _FORMULA_GOES_ON.match(number.after)
    constant = number.value <= SMALL or number.attached or _CONSTANT_UNIT.match(number.after)
    if not constant and (_SAID_TO_BE.search(number.before) or _POINTED_AT.search(number.before)):
        return True
    return _RESULT_VERB.search(number.before) is not None


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


def _numeric_answers(answer: str) -> set[Fraction]:
    """The numbers that an answer consists of: one, with or without a unit, or a list; empty for any other answer."""
    text = normalised(re.sub(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}", r" \1 ", answer))
    text = re.sub(r"\^\s?\{?\s?\\circ\s?\}?|\\[%$,;! ]|[$%°]", " ", text)
    text = re.sub(r"^\s*[a-zA-Z]\s?=", "", text)
    text = re.sub(r"(?<=[0-9])\s?(?:[gmshl]|[ckm]m|kg|ml)$", "", text.strip())
    if re.search(r"[\\^_{}()\[\]*+/=]|\b[a-zA-Z]\b", NUMBER.sub(" ", text)):
        return set()
    return {quantity.value for quantity in quantities(text)}


def _states_text(text: str, question: str, answer: str) -> bool:
    """Whether the answer, as an expression or words, stands in `text` and not in the question."""
    wanted = _expression(answer)
    if len(wanted) < 2:  # a letter is too common in words; it counts where it is called the answer
        hits = re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE) if wanted else ()
        return any(_ANSWER_SAID.search(text[: hit.start()]) or _EQUALS.search(text[: hit.start()]) for hit in hits)
    if wanted in ("yes", "no", "true", "false"):
        hits = re.finditer(rf"\b{wanted}\b", text, re.IGNORECASE)
        return any(_ANSWER_SAID.search(text[: hit.start()]) for hit in hits)
    if wanted.isalpha():
        if _words(answer) in _words(question) and _decides(text, answer):
            return True
        if wanted in _expression(question):
            return _picks(text, question, answer)
        hits = re.finditer(rf"(?<!\w){re.escape(_words(answer))}(?!\w)", _words(text))
        return any(not _among_others(text, answer) for _ in hits)
    if wanted in _expression(question):
        return _decides(text, answer)
    return wanted in _expression(text)


def _decides(text: str, answer: str) -> bool:
    """Whether `text` says of a candidate from the question that it is the one: "3^{20} wins", "Cal is the shortest"."""
    wanted = answer.strip("$ ")
    where = text.lower().find(wanted.lower())
    return where >= 0 and _DECIDED.match(text[where + len(wanted) :]) is not None


def _picks(text: str, question: str, answer: str) -> bool:
    """Whether `text` says which of the question's alternatives ("even or odd") it is, outside of a condition."""
    offered = {word for match in _ALTERNATIVES.finditer(question) for word in _words(match[0]).split()}
    if answer.lower() not in offered:
        return False
    hits = re.finditer(
        rf"\b(?:is|are|be|makes?|becomes?|remains?)\b[^,.;]*?\b{re.escape(answer)}\b", text, re.IGNORECASE
    )
    return any(
        not _CONDITION.search(text[: hit.start()]) and not re.search(r"\b(?:or|if|whether)\b", hit[0], re.IGNORECASE)
        for hit in hits
    )


def _among_others(text: str, answer: str) -> bool:
    """Whether a word only stands beside others of its kind ("circle, ellipse or parabola")."""
    rest = _CONTRASTED.sub(" ", _ENUMERATED.sub(" ", text))
    return re.search(rf"(?<!\w){re.escape(_words(answer))}(?!\w)", _words(rest)) is None


def _states_interval(text: str, answer: str, question: str) -> bool:
    """Whether bounds say what an interval answer says: "2 \\le x \\le 5" for [2, 5]."""
    if not _INTERVAL.match(answer) or not _BOUND.search(text):
        return False
    ends = {quantity.value for quantity in quantities(normalised(answer))}
    bounds = {q.value for match in _BOUND.finditer(text) for q in quantities(match[0])}
    if chain := re.search(rf"({DIGITS})\s?\S+\s?[A-Za-z]\s?\S+\s?-?({DIGITS})", text):
        bounds |= {q.value for q in quantities(chain[0])}
    stated = {q.value for match in _BOUND.finditer(question) for q in quantities(match[0])}
    return bool(ends) and ends <= bounds and not ends <= stated


def _derived_sum(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """A sum or product of bare numbers of which one is not the question's: somebody computed it."""
    for match in _BARE_SUM.finditer(text):
        values = [next(quantities(part)).value for part in match.groups()]
        if any(value not in given and value not in COUNTING for value in values):
            if "/" in match[0] and all(value <= SMALL for value in values):
                continue  # a fraction
            return match
    return None


def _derived_pair(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """Two bare numbers above 2 side by side, neither of them the question's."""
    for match in _PAIR.finditer(_REFERENCE.sub(" ", text)):
        values = [next(quantities(part)).value for part in match.groups()]
        if all(value not in given and value > 2 and value not in ANGLES_AND_BASES for value in values):
            return match
    return None


def _derived_count(text: str, given: set[Fraction]) -> re.Match[str] | None:
    """ "There are 4 doublings": a count above 2, in digits, that is not the question's."""
    found = (match for match in _COUNTED.finditer(text) if Fraction(match[1]) > 2 and Fraction(match[1]) not in given)
    return next(found, None)


def _worded_sum(text: str, numbers: Sequence[Quantity]) -> bool:
    """ "Fourteen plus twenty-three is thirty-seven": an operation between spelled numbers, and its result."""
    spelled = [number for number in numbers if number.spelled]
    if len(spelled) < 3 or not _WORDED_SUM.search(text):
        return False
    return any(_SUM_RESULT.search(number.before) for number in spelled)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"\\(?:text|mathrm|mathbf)\s?(?=\{)", " ", text))).lower()


def _expression(text: str) -> str:
    """Mathematics without spaces and typography, for comparison."""
    text = re.sub(r"\\(?:left|right|displaystyle|limits)(?![a-zA-Z])|\\[,;:! ]|[$\s]", "", text)
    text = re.sub(r"\\(?:text|mathrm|mathbf)\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".").lower()


def _excerpt(text: str, length: int = 80) -> str:
    return f"'{text if len(text) <= length else text[: length - 1] + '…'}'"
