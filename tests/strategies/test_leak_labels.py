"""The leak check on the labelled set, and on answers written in many ways."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from leaks import judge_all, precision, recall

from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict
from sgpo.strategies.leaks.equivalents import MOST_FRAGMENTS, find_equivalent, fragments
from sgpo.strategies.leaks.leak import find_leak
from sgpo.strategies.parsing import ParsedStrategy

QUESTION = "A farmer sells part of the harvest and keeps the rest. What is kept?"


def strategy(*steps: str) -> ParsedStrategy:
    return ParsedStrategy("Parts of a whole", "Compare the part with the whole.", ("Name the unknown.", *steps))


@pytest.mark.slow
def test_the_bars_are_reached_on_the_labelled_set() -> None:
    judged = judge_all()
    assert len(judged) >= 200
    found, leaks = recall(judged)
    right, refused = precision(judged)
    assert found / leaks >= 0.98
    assert right / refused >= 0.95


@given(value=st.integers(13, 9_999), form=st.sampled_from(["The answer is {0}.", "Then $x = {0}$.", "It makes {0:,}."]))
def test_a_whole_number_is_found_in_every_form(value: int, form: str) -> None:
    problem = Problem(question=QUESTION, answer=str(value))
    assert find_leak(strategy(form.format(value)), problem) is not None
    assert find_leak(strategy("Divide the whole in proportion."), problem) is None


@given(st.integers(1, 40), st.integers(2, 40))
def test_a_fraction_is_found_as_another_fraction(top: int, bottom: int) -> None:
    value = Fraction(top, bottom)
    if value.denominator == 1:
        return
    problem = Problem(question=QUESTION, answer=f"\\frac{{{value.numerator}}}{{{value.denominator}}}")
    for form in (f"{3 * value.numerator}/{3 * value.denominator}", f"\\dfrac{{{2 * top}}}{{{2 * bottom}}}"):
        assert find_leak(strategy(f"What is kept is {form} of it."), problem) is not None


@given(
    st.text(max_size=200),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf")), min_size=1, max_size=30).filter(str.strip),
)
def test_no_text_makes_the_checks_fail(text: str, answer: str) -> None:
    problem = Problem(question=QUESTION, answer=answer)
    find_leak(ParsedStrategy(text, text, (text, text)), problem)
    list(fragments(text))


def test_few_expressions_are_judged_and_none_that_the_question_has() -> None:
    asked: list[str] = []

    def verify(text: str, problem: Problem) -> Verdict:
        asked.append(text)
        return Verdict(False, text, "wrong")

    many = " ".join(f"$x^{power} + 1$" for power in range(40))
    problem = Problem(question="Expand $x^2 + 1$.", answer="7")
    assert find_equivalent(strategy(many), problem, verify) is None
    assert len(asked) == MOST_FRAGMENTS
    asked.clear()
    assert find_equivalent(strategy("Look at $x^2 + 1$."), problem, verify) is None
    assert asked == []
