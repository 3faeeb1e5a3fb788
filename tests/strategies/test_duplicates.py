import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.strategies.duplicates import near_duplicates, words
from sgpo.strategies.parsing import ParsedStrategy
from sgpo.testbed.plans import plans_of
from sgpo.testbed.strategies import describe

PARITY = ParsedStrategy(
    "Parity argument in a colouring problem",
    "Colour the board like a chessboard and compare how many squares of each colour every piece covers.",
    ("Choose a colouring.", "Count what one piece covers.", "Compare with the whole board.", "Conclude from parity."),
)
VIETA = ParsedStrategy(
    "Symmetric expression in the roots of a polynomial",
    "Use Vieta's formulas to express the sum and product of the roots by the coefficients.",
    ("Write the sum and the product of the roots.", "Express what is asked through them.", "Substitute."),
)


def reworded(strategy: ParsedStrategy, old: str, new: str) -> ParsedStrategy:
    steps = tuple(step.replace(old, new) for step in strategy.steps)
    return ParsedStrategy(strategy.problem_type.replace(old, new), strategy.approach.replace(old, new), steps)


def test_different_strategies_are_no_duplicates() -> None:
    assert near_duplicates([PARITY, VIETA]) == [None, None]
    assert near_duplicates([]) == []


@pytest.mark.parametrize(
    ("old", "new"), [("chessboard", "checkerboard"), ("Choose", "Pick"), ("whole ", ""), (".", "!"), ("C", "c")]
)
def test_the_same_strategy_with_a_word_changed_is_named_by_the_earlier_one(old: str, new: str) -> None:
    assert near_duplicates([VIETA, PARITY, reworded(PARITY, old, new)]) == [None, None, 1]


def test_a_sign_of_mathematics_is_a_word_and_punctuation_is_not() -> None:
    assert words("Use **a + b**, not `a - b`.") == ["use", "a", "+", "b", "not", "a", "-", "b"]
    assert words("ﬁrst STEP") == ["first", "step"]


def test_two_plans_of_the_testbed_are_never_one_strategy() -> None:
    """Some differ by few words ("sum", "sum to the rim"), and a reader must not lose the right one."""
    choose = random.Random(0)
    for _ in range(40):
        candidates = [ParsedStrategy(*describe(plan, choose)) for plan in plans_of()]
        assert near_duplicates(candidates) == [None] * len(plans_of())


@given(st.lists(st.sampled_from([PARITY, VIETA, reworded(PARITY, "Choose", "Pick"), reworded(VIETA, "Use", "Apply")])))
def test_what_is_named_is_earlier_and_kept(candidates: list[ParsedStrategy]) -> None:
    found = near_duplicates(candidates)
    for index, earlier in enumerate(found):
        if earlier is not None:
            assert earlier < index
            assert found[earlier] is None
    kept = [candidate for candidate, earlier in zip(candidates, found, strict=True) if earlier is None]
    assert near_duplicates(kept) == [None] * len(kept)
    assert all(a.text() != b.text() for a, b in itertools.combinations(kept, 2))


def test_the_threshold_decides_how_much_may_differ() -> None:
    changed = reworded(reworded(PARITY, "chessboard", "grid"), "Conclude from parity.", "Look at the remainder.")
    assert near_duplicates([PARITY, changed]) == [None, None]
    assert near_duplicates([PARITY, changed], threshold=0.6) == [None, 0]
