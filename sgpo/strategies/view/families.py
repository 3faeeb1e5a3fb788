"""Families: strategies of different problems that say the same, so that a bank shows what it reuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sgpo.errors import UserError
from sgpo.strategies.duplicates import spaced_words, words
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.similar_rows import most_similar, rare_parts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

THRESHOLD = 0.85
"""Cosine to the representative from which a strategy belongs to its family.

In the testbed no family mixes two plans from 0.82 up; at 0.80 the families of half a bank do.
"""
PART_WEIGHTS = {"problem_type": 1.0, "approach": 2.0, "steps": 1.0}
"""Shares of the three parts in the cosine: the approach is what is reused, and long steps do not drown it."""

_AT_ONCE = 512  # texts compared at once; bounds the memory at _AT_ONCE x families
_ROUNDING = 1e-9  # cosines this close are equal


class FamilyError(UserError):
    """Strategies that cannot be grouped."""


@dataclass(frozen=True, slots=True)
class Family:
    """One strategy as its representative words it, and the problems (ids, sorted) whose strategies say the same.

    The representative is the member with the best score, of equals the one with the smallest problem id; `score` is
    its score, `id` a hash of its text.
    """

    id: str
    problem_type: str
    approach: str
    steps: tuple[str, ...]
    members: tuple[str, ...]
    score: float


def find_families(strategies: Iterable[Strategy], threshold: float = THRESHOLD) -> list[Family]:
    """Return the families of a bank, largest first; every strategy is in exactly one.

    From the best score down, a strategy joins the family whose representative is most similar to it, or founds one
    where none has a cosine of `threshold`. So every member is that similar to the representative (no chains), the
    result does not depend on the input's order, and the memory grows with the families, not with the strategies
    squared. The cosine is of TF-IDF vectors of words and word pairs, part by part (PART_WEIGHTS). Raises FamilyError
    for a threshold out of (0, 1] and for two strategies of one problem.
    """
    if not 0.0 < threshold <= 1.0:
        raise FamilyError(f"threshold is {threshold} (expected a cosine above 0, at most 1)")
    ranked = sorted(strategies, key=lambda strategy: (-strategy.score, strategy.problem_id))
    _check_ids(ranked)
    same: dict[str, list[Strategy]] = {}
    for strategy in ranked:
        same.setdefault(spaced_words(strategy.text()), []).append(strategy)
    if not same:
        return []
    groups = list(same.values())
    members: dict[int, list[str]] = {}
    for leader, group in zip(_leaders(_vectors([group[0] for group in groups]), threshold), groups, strict=True):
        members.setdefault(leader, []).extend(strategy.problem_id for strategy in group)
    families = [_family(groups[leader][0], ids) for leader, ids in members.items()]
    return sorted(families, key=lambda family: (-len(family.members), -family.score, family.members))


def family_by_problem(families: Iterable[Family]) -> dict[str, Family]:
    """Problem id -> the family of its strategy."""
    return {member: family for family in families for member in family.members}


def _family(representative: Strategy, members: Iterable[str]) -> Family:
    return Family(
        id=hashlib.sha256(representative.text().encode()).hexdigest()[:12],
        problem_type=representative.problem_type,
        approach=representative.approach,
        steps=representative.steps,
        members=tuple(sorted(members)),
        score=representative.score,
    )


def _check_ids(ranked: Sequence[Strategy]) -> None:
    seen: set[str] = set()
    for strategy in ranked:
        if strategy.problem_id in seen:
            raise FamilyError(f"problem_id '{strategy.problem_id}' occurs twice (expected one strategy per problem)")
        seen.add(strategy.problem_id)


def _vectors(strategies: Sequence[Strategy]) -> csr_array:
    """Rows of length 1 whose products are the weighted mean of the parts' cosines, [strategies, words of all parts]."""
    from scipy.sparse import csr_array, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = {
        "problem_type": [strategy.problem_type for strategy in strategies],
        "approach": [strategy.approach for strategy in strategies],
        "steps": [" ".join(strategy.steps) for strategy in strategies],
    }
    blocks = []
    for part, weight in PART_WEIGHTS.items():
        if any(map(words, texts[part])):  # a part of nothing but punctuation has no vector
            vectorizer = TfidfVectorizer(
                preprocessor=spaced_words, token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True
            )
            blocks.append(weight**0.5 * vectorizer.fit_transform(texts[part]))
    if not blocks:
        return csr_array((len(strategies), 1))
    return csr_array(normalize(hstack(blocks, format="csr")))


def _leaders(vectors: csr_array, threshold: float) -> list[int]:
    """For each row the row that leads its family: itself, or the most similar earlier leader."""
    leaders: list[int] = []
    found: list[int] = []
    rare = rare_parts(vectors, threshold)
    for start in range(0, vectors.indptr.size - 1, _AT_ONCE):
        block = vectors[start : start + _AT_ONCE]
        among = (block @ block.T).toarray()
        nearest = most_similar(block, vectors, rare, leaders, threshold) if leaders else {}
        new: list[int] = []
        for row in range(block.shape[0]):
            leader, similarity = nearest.get(row, (start + row, 0.0))
            if new and among[row, new].max() > similarity + _ROUNDING:
                position = int(among[row, new].argmax())
                leader, similarity = start + new[position], among[row, new[position]]
            if similarity < threshold - _ROUNDING:
                leader = start + row
                new.append(row)
            found.append(leader)
        leaders += [start + row for row in new]
    return found
