"""Whether a strategy for a puzzle states the answer or a part of it: "Amelia is a knight", a row of a grid, a word.

The answer is cut into parts at commas, semicolons, "and" and lines. A part of several words leaks wherever it stands,
in the question too, because only the answer says that it holds; a single word leaks where the question has it not.
"""

from __future__ import annotations

import re
import unicodedata

from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.leak import Described
from sgpo.strategies.leaks.wording import excerpt
from sgpo.strategies.refusals import Refusal

_PART = re.compile(r"[,;\n]|\band\b", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_SAID = re.compile(
    r"\b(?:answer|result|solution|conclusion|output)\b[^.;]{0,30}?(?:\bis\b|:|=)[\s\"'`*]*$", re.IGNORECASE
)
_COMMON = frozenset(
    [
        "yes",
        "no",
        "true",
        "false",
        "none",
        "a",
        "an",
        "the",
        "is",
        "are",
        "of",
        "to",
        "in",
        "on",
        "or",
        "not",
        "it",
        "0",
        "1",
        "2",
        "3",
        "zero",
        "one",
        "two",
        "three",
    ]
)
"""Words that any method is worded with: as the answer they leak only where they are called the answer."""


def find_answer_parts(strategy: Described, problem: Problem) -> Refusal | None:
    """Why `strategy` gives the answer of a puzzle away, or None."""
    question = _tokens(problem.question)
    parts = [part for text in (problem.answer, *_PART.split(problem.answer)) if (part := _words(_tokens(text)))]
    for text in (strategy.problem_type, strategy.approach, *strategy.steps):
        for part in parts:
            if _states(text, part, question):
                shown = " ".join(part)
                return Refusal("states_answer", f"states '{shown[:60]}' of the answer: {excerpt(text)}")
    return None


def _states(text: str, part: list[str], question: list[str]) -> bool:
    tokens = _words(_tokens(text))
    if len(part) > 1:
        return not set(part) <= _COMMON and _place(tokens, part) is not None
    word = part[0]
    if word in _COMMON or len(word) == 1 or word in question:
        return any(
            _SAID.search(text[: hit.start()]) for hit in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I)
        )
    return word in tokens


def _place(tokens: list[str], part: list[str]) -> int | None:
    size = len(part)
    return next((at for at in range(len(tokens) - size + 1) if tokens[at : at + size] == part), None)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def _words(tokens: list[str]) -> list[str]:
    """Return the tokens without punctuation; operators and connectives of formulas stay."""
    return [token for token in tokens if token.isalnum() or token not in ".,:;!?\"'`()[]{}"]
