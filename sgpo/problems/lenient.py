r"""The answer of a response that has no box, by the usual other forms of a final answer: what lenient accuracy reads.

`#### 7`, `The answer is 7`, `**7**`, `... = 7.`, and where the gold is a number the last one of the last sentence. One
answer or none: what a response says last counts, and a sentence that doubts, denies or asks says nothing. Rewards never
read this. Every step is linear in the text.
"""

from __future__ import annotations

import re

from sgpo.problems.answers import read_number
from sgpo.problems.comparison import Expectation
from sgpo.problems.responses import NEW_QUESTION, answer_part
from sgpo.problems.units import PERCENT

LONGEST_ENDING = 2000
"""Characters at the end of a response in which a final answer is looked for."""
MOST_WORDS_AFTER = 8
"""Words that may follow the last number of the last sentence: a sentence that runs on has only mentioned it."""

_STATEMENT = re.compile(
    r"####[^\S\n]*(?P<marked>\S[^\n]*)"
    r"|\banswer(?:[ \t]+to[^.!?\n]{1,80}?)?[ \t*]*(?:\b(?:is|was|are|equals|would be|will be|must be|should be)\b|[:=])"
    r"[ \t*]*(?::\s*)?(?=\S)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])[.!?]+(?=[*)\"'\]$]*(?:\s|$))|\n")
_DOUBT = re.compile(
    r"\b(?:not|never|cannot|whether|if|unless|maybe|perhaps|possibly|might|either|neither|or|between\s+\d+|unknown)\b"
    r"|n't\b|\?",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:]\s|\s\(|\s(?:because|since|as|so|which|where|when|after|for|but)\b", re.IGNORECASE)
_REASON = re.compile(r",?\s(?:because|since)\b|;\s", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_NUMBER = re.compile(
    r"(?<![\w.,^_/{])[-+−]?\\?\$?\s?(?:"
    r"\d{1,9}\s+\d{1,9}/\d{1,9}"
    r"|\d{1,9}/\d{1,9}"
    r"|(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?"
    r"|\.\d{1,40}"
    r"|\\[dt]?frac\s?\{-?\d{1,9}\}\{\d{1,9}\})(?:\s?\\?%)?(?![\d^_/])"
)


def lenient_answer(response: str, expected: Expectation) -> str | None:
    """Return the final answer that a response without a box states in another form, or None where it states none."""
    text = answer_part(response)[-LONGEST_ENDING:]
    numeric = _is_number(expected)
    if (asked := NEW_QUESTION.search(text)) and text[: asked.start()].strip():
        text = text[: asked.start()]
    statements = [found for found in _STATEMENT.finditer(text) if not _doubted(text, found)]
    if statements:
        found = statements[-1]
        said = found["marked"] or _first_sentence(text[found.end() :])
        return _number_of(said) if numeric else _words_of(said)
    return _of_last_sentence(_last_sentence(text), numeric)


def _of_last_sentence(sentence: str, numeric: bool) -> str | None:
    """Return what the last sentence ends with: something bold, the right side of an equation, a number."""
    if _DOUBT.search(sentence):
        return None
    if bold := _BOLD.findall(sentence):
        return _number_of(bold[-1]) if numeric else _words_of(bold[-1])
    _, equal, right = sentence.rpartition("=")
    if not numeric:
        return _words_of(right) if equal else None
    numbers = list(_NUMBER.finditer(right if equal else sentence))
    if not numbers:
        return None
    if len(numbers[-1].string[numbers[-1].end() :].split()) > MOST_WORDS_AFTER:
        return None
    return _plain(numbers[0 if equal else -1][0])


def _doubted(text: str, found: re.Match[str]) -> bool:
    """Whether the sentence of a statement denies it, or asks: `I doubt whether the answer is 7`, `not 7`, `7?`."""
    if found["marked"]:
        return False
    before = _last_sentence(text[: found.start()], whole=False)
    said = _first_sentence(text[found.end() :], mark=True)
    return said.endswith("?") or any(_DOUBT.search(part) for part in (before, _CLAUSE.split(said, maxsplit=1)[0]))


def _number_of(said: str) -> str | None:
    """Return the one number that a statement names, after its last equals sign; None where it names none or several."""
    said = _CLAUSE.split(said.rpartition("=")[2].strip(" *$"), maxsplit=1)[0]
    numbers = [_plain(number) for number in _NUMBER.findall(said)]
    return numbers[0] if len(set(numbers)) == 1 else None


def _words_of(said: str) -> str | None:
    """Return a statement that is no number without emphasis and reason."""
    said = _REASON.split(said, maxsplit=1)[0].replace("**", "").strip(" .*:")
    return said or None


def _is_number(expected: Expectation) -> bool:
    text = expected.shape.text.replace("\\$", "").replace("$", "").removesuffix("%").removesuffix("\\")
    return not expected.multiple and (expected.unit in (None, PERCENT)) and read_number(text.strip()) is not None


def _plain(number: str) -> str:
    return number.strip().replace("\\$", "").replace("$", "").replace("−", "-").replace(" %", "%")


def _first_sentence(text: str, mark: bool = False) -> str:
    """Return the text to the end of its first sentence, with the `mark` that ends it or without."""
    found = _SENTENCE_END.search(text)
    return text[: (found.end() if mark else found.start())] if found else text


def _last_sentence(text: str, whole: bool = True) -> str:
    """Return the last sentence that says something; the one that is going on at the end, where it need not be whole."""
    start, end = 0, len(text.rstrip()) if whole else len(text)
    for found in _SENTENCE_END.finditer(text, 0, end):
        if not whole or text[found.end() : end].strip(" \n*)\"'$]"):
            start = found.end()
    return text[start:end]
