"""A strategy for a problem that no strong model has answered: from a bank, by the wording of the question alone.

What is alike in two questions is mostly their story, and the strategy hangs on few words. So the bank itself is asked
which words of a question go with which words of a strategy: a ridge regression from TF-IDF features of the questions to
those of the strategies. Where few questions share words it is a vote over all problems weighted by their similarity;
with more of them, words that tell nothing about the strategy lose their weight. On the testbed this names the right
plan for all 240 held-out problems from 599 strategies (for 99 % from 200, 88 % from 100), where the strategy of the
nearest question by the same features is right for 119 of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sgpo.errors import UserError
from sgpo.problems.schema import Problem
from sgpo.strategies.duplicates import spaced_words
from sgpo.strategies.schema import Strategy

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import FeatureUnion

RIDGE = 0.3
"""Weight of the penalty against questions of length 1; 0.1 to 1 measure the same on the testbed."""
DIMENSIONS = 128
"""Most numbers that are predicted; a bank with more different words is projected on its main directions."""

_MOST_FEATURES = 50_000  # the most frequent words, and as many pieces of words: bounds time and memory for large banks
_LEARNED_FROM = 10_000  # most strategies of the regression, whose solver's iterations grow with them
_AT_ONCE = 256  # most questions that are answered at once
_CELLS = 2**24  # most numbers of a matrix [questions, bank]: fewer questions at once for a large bank
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class RetrievalError(UserError):
    """A bank from which nothing can be retrieved."""


@dataclass(frozen=True, slots=True)
class Match:
    """A strategy of the bank for a question, and the problem that it was extracted for.

    `similarity`, 0 to 1, is how far the question's words point to this strategy: about 0.6 for a question like those of
    the bank, less the less it shares with them, 0 where no word is known.
    """

    problem_id: str
    strategy: Strategy
    similarity: float


class StrategyIndex:
    """A bank that can be asked with questions. The same bank gives the same answers, in whatever order it is given."""

    def __init__(self, problems: Sequence[Problem], strategies: Mapping[str, Strategy]) -> None:
        """`strategies` by problem id, as `load_strategies` gives them; problems without one are not looked at.

        Raises RetrievalError where there is no strategy, and for one without its problem.
        """
        from sklearn.linear_model import Ridge

        questions = {problem.id: problem.question for problem in problems if problem.id in strategies}
        if lost := sorted(set(strategies) - set(questions)):
            raise RetrievalError(f"the strategy of '{lost[0]}' has no problem (expected one of {len(problems)})")
        if not questions:
            raise RetrievalError("no strategies to retrieve from (expected at least one)")
        self._bank = [strategies[name] for name in sorted(strategies)]
        rows: dict[str, list[int]] = {}
        for row, strategy in enumerate(self._bank):
            rows.setdefault(spaced_words(strategy.text()), []).append(row)
        self._rows = list(rows.values())
        self._features = _question_features()
        self._questions = self._features.fit_transform([questions[strategy.problem_id] for strategy in self._bank])
        vectors = _strategy_vectors(self._bank)
        self._texts = vectors[[group[0] for group in self._rows]]
        some = slice(None, None, -(-len(self._bank) // _LEARNED_FROM))
        self._ridge = Ridge(alpha=RIDGE, fit_intercept=False).fit(self._questions[some], vectors[some])

    def nearest(
        self, questions: Sequence[str], k: int = 1, *, ids: Sequence[str | None] | None = None
    ) -> list[list[Match]]:
        """For each question the `k` best strategies, best first, no text twice; fewer where the bank has fewer.

        `ids` names the problem of each question, whose own strategy is never returned. A text that several problems
        share comes with the one whose question is most alike.
        """
        if k < 1:
            raise RetrievalError(f"k is {k} (expected at least 1)")
        own = ids if ids is not None else [None] * len(questions)
        if len(own) != len(questions):
            raise RetrievalError(f"{len(own)} ids for {len(questions)} questions (expected one per question)")
        found = []
        at_once = max(1, min(_AT_ONCE, _CELLS // len(self._bank)))
        for start in range(0, len(questions), at_once):
            features = self._features.transform(questions[start : start + at_once])
            scores = self._ridge.predict(features) @ self._texts.T
            alike = (features @ self._questions.T).toarray()
            for name, score, question in zip(own[start:], scores, alike, strict=False):
                matches = self._ranked(score.round(9), question.round(9), name)
                found.append([match for match, _ in zip(matches, range(k), strict=False)])
        return found

    def _ranked(self, scores: np.ndarray, alike: np.ndarray, own: str | None) -> Iterator[Match]:
        """Yield the matches of one question from the best on; `scores` [texts], `alike` [bank]."""
        for text in (-scores).argsort(kind="stable"):
            rows = [row for row in self._rows[text] if self._bank[row].problem_id != own]
            if rows:
                row = max(rows, key=lambda row: (alike[row], self._bank[row].score, -row))
                strategy = self._bank[row]
                yield Match(strategy.problem_id, strategy, float(scores[text].clip(0.0, 1.0)))


def _question_features() -> FeatureUnion:
    """Words, pairs of words, and pieces of words of three to five letters, each half of a row of length 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    words = TfidfVectorizer(
        preprocessor=_masked,
        token_pattern=r"\w+|[^\w\s]",
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=_MOST_FEATURES,
    )
    pieces = TfidfVectorizer(
        preprocessor=_masked, analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=_MOST_FEATURES
    )
    half = 0.5**0.5
    return FeatureUnion([("words", words), ("pieces", pieces)], transformer_weights={"words": half, "pieces": half})


def _masked(question: str) -> str:
    """Return the question without its numbers, which do not tell how to reason."""
    return _NUMBER.sub("0", unicodedata.normalize("NFKC", question).casefold())


def _strategy_vectors(strategies: Sequence[Strategy]) -> np.ndarray:
    """Return what is predicted: TF-IDF of words and word pairs, rows of length 1, [strategies, at most DIMENSIONS]."""
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts = [spaced_words(strategy.text()) for strategy in strategies]
    vectorizer = TfidfVectorizer(
        token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True, max_features=_MOST_FEATURES
    )
    vectors = vectorizer.fit_transform(texts)
    if vectors.shape[1] <= DIMENSIONS or len(set(texts)) == 1:
        return vectors.toarray()
    reduced = TruncatedSVD(min(DIMENSIONS, len(texts)), random_state=0).fit_transform(vectors)
    return np.asarray(normalize(reduced))
