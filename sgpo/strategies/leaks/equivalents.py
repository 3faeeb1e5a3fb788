"""The final answer in another form: mathematical fragments of a strategy, judged against the answer by the verifier."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.leak import Described
from sgpo.strategies.leaks.quantities import normalised
from sgpo.strategies.refusals import Refusal

if TYPE_CHECKING:
    from sgpo.problems.verifier import Verdict

Verify = Callable[[str, Problem], "Verdict"]

MOST_FRAGMENTS = 12
"""Fragments of one strategy that are judged, the longest first."""
_SHORTEST, _LONGEST = 3, 120

_DELIMITED = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_TERM = (
    r"(?:\\[a-zA-Z]+(?:\{[^{}]*\})*|[0-9]+(?:\.[0-9]+)?[a-z]?|[a-z](?![a-zA-Z])|\([^()]{1,40}\))(?:\^\{?[\w+-]+\}?)?"
)
_PLAIN = re.compile(rf"(?<![\w\\])(?:-\s?)?{_TERM}(?:\s?[-+*/]\s?{_TERM})+(?![\w])")
_RELATION = re.compile(r"=|≈|\\approx|\\(?:leq?|geq?|neq?)\b|[<>≤≥]")


def find_equivalent(strategy: Described, problem: Problem, verify: Verify) -> Refusal | None:
    """Why `strategy` gives the answer away in another form, or None.

    A fragment that the question contains is not judged, nor is a bare number: `find_leak` has compared those.
    """
    question = _compact(problem.question)
    texts = (strategy.problem_type, strategy.approach, *strategy.steps)
    found = {fragment for text in texts for fragment in fragments(text) if _compact(fragment) not in question}
    for fragment in sorted(found, key=lambda fragment: (-len(fragment), fragment))[:MOST_FRAGMENTS]:
        if verify(f"\\boxed{{{fragment}}}", problem).correct:
            return Refusal("states_answer", f"states the final answer '{problem.answer}' as '{fragment}'")
    return None


def has_fragments(strategy: Described) -> bool:
    """Whether there is anything to judge."""
    return any(True for text in (strategy.problem_type, strategy.approach, *strategy.steps) for _ in fragments(text))


def fragments(text: str) -> Iterator[str]:
    """Expressions in a text: the sides of what stands between dollar signs, and sums of terms in plain text."""
    text = normalised(text)
    inside = [next(part for part in match.groups() if part) for match in _DELIMITED.finditer(text)]
    outside = _PLAIN.findall(_DELIMITED.sub(" ", text))
    for part in (*inside, *outside):
        for side in _RELATION.split(part):
            side = side.strip(" .,;:")
            if _SHORTEST <= len(side) <= _LONGEST and re.search(r"[-+*/^\\]", side):
                yield side


def _compact(text: str) -> str:
    return re.sub(r"[\s$]", "", normalised(text)).lower()
