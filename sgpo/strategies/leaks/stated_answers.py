"""Whether a text states a problem's final answer: as a number, an expression, words, or the bounds of an interval."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.quantities import DIGITS, NUMBER, Quantity, normalised, quantities
from sgpo.strategies.leaks.wording import (
    COUNTING,
    EQUALS,
    FORMULA_GOES_ON,
    RESULT_VERB,
    SAID_TO_BE,
    SMALL,
    expression,
    is_result,
)

_ANSWER_SAID = re.compile(
    r"(?:\b(?:answer|result|solution|final (?:value|count|number|total))"
    r"\s?(?:is|was|:|=|equals|of|must be|will be|should be)|\\boxed\s?\{)\s?[-$\\(]*\s?$",
    re.IGNORECASE,
)
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
_BOUND = re.compile(
    rf"[A-Za-z]\s?(?:\\leq?|\\geq?|≤|≥|<|>|<=|>=)\s?-?\s?{DIGITS}|{DIGITS}\s?(?:\\leq?|≤|<|<=)\s?[A-Za-z]"
)
_INTERVAL = re.compile(r"^\s?[$\\(left]*[\[(].*(?:,|\.\.).*[\])]")
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
_SHOWN_COUNT = re.compile(
    r"\b(?:shows?|see|conclud\w+|find|means?|tells?|follows)(?: us)? that there (?:are|is)(?: exactly| only)?\s?$",
    re.IGNORECASE,
)
_MONEY = re.compile(r"\b([a-z -]+?) (?:dollars|euros|pounds) and ([a-z-]+) (?:cents|pence)\b", re.IGNORECASE)
_UNIT_NAMES = {"g": "gram", "kg": "kilogram", "m": "met", "km": "kilomet", "cm": "centimet", "s": "second", "h": "hour",
               "min": "minute", "$": "dollar", "€": "euro", "%": "percent", "l": "lit"}  # fmt: skip


def states_answer(text: str, numbers: Sequence[Quantity], problem: Problem, given: set[Fraction]) -> bool:
    """Whether `text`, with these numbers in it, states the answer; `given` are the numbers of the question."""
    question, answers, unit = normalised(problem.question), _numeric_answers(problem.answer), _unit_of(problem.answer)
    worded = [normalised(part) for part in (problem.answer.split(",") if problem.multiple else [problem.answer])]
    said = any(
        _equals_one(number, answers) and (_gives_answer(number, given) or _has_unit(number, unit))
        for number in (*numbers, *_money(text))
    )
    if said or (not answers and any(_states_text(text, question, answer) for answer in worded)):
        return True
    return _states_interval(text, problem.answer, question)


def _gives_answer(number: Quantity, given: set[Fraction]) -> bool:
    """Whether this number, equal to the answer, is there as the answer."""
    if _ANSWER_SAID.search(number.before) or _CALLED_ANSWER.match(number.after):
        return True
    if _CONCLUDED.search(number.before) and not FORMULA_GOES_ON.match(number.after):
        return True
    if _SHOWN_COUNT.search(number.before):
        return True
    if number.value in COUNTING:
        if number.spelled:
            return _HOW_OFTEN.search(number.before) is not None
        said = number.value != 0 and not number.attached and SAID_TO_BE.search(number.before) is not None
        return said or (RESULT_VERB.search(number.before) or _MADE_EQUAL.search(number.before)) is not None
    if _PUT_IN.search(number.before) and not number.attached:
        return True
    said_to_be = SAID_TO_BE.search(number.before) is not None and not number.attached
    if number.value in given:
        return is_result(number) or said_to_be
    if number.spelled or number.attached:  # "three cases", "x^3"; but "forty-two" and "42km" word no method
        if number.spelled and number.value.denominator > 1 and number.after.startswith(" of"):
            return False  # "one half of the base"
        part = number.spelled and number.value.denominator > 1
        return number.value > SMALL or part or said_to_be or RESULT_VERB.search(number.before) is not None
    return True


def _unit_of(answer: str) -> str:
    """Return the unit of an answer such as "2 hours", "5 g" or "\\$3", as its word begins; empty without one."""
    text = normalised(re.sub(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}", r" \1 ", answer)).replace("\\", "")
    found = re.search(r"[$€%]|[a-zA-Z]+", NUMBER.sub(" ", text))
    return _UNIT_NAMES.get(found[0], found[0].rstrip("s")) if found else ""


def _has_unit(number: Quantity, unit: str) -> bool:
    """Whether a number has the answer's unit behind it."""
    return len(unit) > 1 and re.match(rf"\s?{re.escape(unit)}", number.after, re.IGNORECASE) is not None


def _money(text: str) -> Iterator[Quantity]:
    """Yield "Five dollars and twenty cents" as 5.20 dollars."""
    for match in _MONEY.finditer(text):
        whole, hundredths = ([q for q in quantities(part) if q.spelled] for part in match.groups())
        if whole and hundredths:
            yield Quantity(whole[-1].value + hundredths[0].value / 100, match[0], "", " dollars", spelled=True)


def _equals_one(number: Quantity, answers: set[Fraction]) -> bool:
    """Whether a number is one of the answers, a percentage as its hundredth too."""
    if number.value in answers:
        return True
    return re.match(r"\s?(?:\\?%|percent)", number.after) is not None and number.value / 100 in answers


def _numeric_answers(answer: str) -> set[Fraction]:
    """Return the numbers that an answer consists of, one with or without a unit or a list; empty for any other."""
    text = normalised(re.sub(r"\\(?:text|mathrm|mbox)\s?\{([^{}]*)\}", r" \1 ", answer))
    text = re.sub(r"\^\s?\{?\s?\\circ\s?\}?|\\[%$,;! ]|[$%°]", " ", text)
    text = re.sub(r"^\s*[a-zA-Z]\s?=", "", text)
    text = re.sub(r"(?<=[0-9])\s?(?:[gmshl]|[ckm]m|kg|ml)$", "", text.strip())
    if re.search(r"[\\^_{}()\[\]*+/=]|\b[a-zA-Z]\b", NUMBER.sub(" ", text)):
        return set()
    return {quantity.value for quantity in quantities(text)}


def _states_text(text: str, question: str, answer: str) -> bool:
    """Whether the answer, as an expression or words, stands in `text` and not in the question."""
    wanted = expression(answer)
    if len(wanted) < 2:  # a letter is too common in words; it counts where it is called the answer
        hits = re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE) if wanted else ()
        return any(_ANSWER_SAID.search(text[: hit.start()]) or EQUALS.search(text[: hit.start()]) for hit in hits)
    if wanted in ("yes", "no", "true", "false"):
        hits = re.finditer(rf"\b{wanted}\b", text, re.IGNORECASE)
        return any(_ANSWER_SAID.search(text[: hit.start()]) for hit in hits)
    if wanted.isalpha():
        if _words(answer) in _words(question) and _decides(text, answer):
            return True
        if wanted in expression(question):
            return _picks(text, question, answer)
        hits = re.finditer(rf"(?<!\w){re.escape(_words(answer))}(?!\w)", _words(text))
        return any(not _among_others(text, answer) for _ in hits)
    if wanted in expression(question):
        return _decides(text, answer)
    return wanted in expression(text)


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


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"\\(?:text|mathrm|mathbf)\s?(?=\{)", " ", text))).lower()
