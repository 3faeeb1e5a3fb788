"""Near-duplicates among a few candidates: the same strategy worded with a word changed is not ranked twice."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

THRESHOLD = 0.85
"""Similarity from which two candidates are the same strategy: one word in about twenty differs, or three in sixty.

In the testbed, the most similar strategies of two different plans have 0.79.
"""

_TOKEN = re.compile(r"\w+|[^\w\s.,;:!?\"'`*_#()\[\]{}‘’“”…]")


class Worded(Protocol):
    """A strategy as one text, parsed or stored."""

    def text(self) -> str: ...


def words(text: str) -> list[str]:
    """Return the words and mathematical signs of a text in order, without case, spacing, punctuation and markup."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def spaced_words(text: str) -> str:
    """Return the words of a text with one space between them: equal for texts that differ only in typography."""
    return " ".join(words(text))


def near_duplicates(candidates: Sequence[Worded], threshold: float = THRESHOLD) -> list[int | None]:
    """For each candidate the index of the first earlier one that it nearly repeats, else None.

    An index always names a candidate that is no near-duplicate itself, so that what is kept is what is named. The
    similarity is |A & B| / |A | B| (Jaccard) of the sets of words and of pairs of words that stand side by side: a word
    that is replaced costs one word and two pairs, whatever the length. Quadratic in the number of candidates.
    """
    kept: list[tuple[int, set[str]]] = []
    found: list[int | None] = []
    for index, candidate in enumerate(candidates):
        shingles = _shingles(candidate.text())
        earlier = next((number for number, other in kept if _similarity(shingles, other) >= threshold), None)
        if earlier is None:
            kept.append((index, shingles))
        found.append(earlier)
    return found


def _shingles(text: str) -> set[str]:
    sequence = words(text)
    return {*sequence, *map(" ".join, pairwise(sequence))}


def _similarity(first: set[str], second: set[str]) -> float:
    either = len(first | second)
    return len(first & second) / either if either else 1.0
