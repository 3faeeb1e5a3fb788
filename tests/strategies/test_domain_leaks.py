"""What a strategy of another domain gives away: parts of a puzzle's answer, lines of a program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.problems import Problem
from sgpo.strategies.leaks.by_domain import find_domain_leak
from sgpo.strategies.leaks.leak import find_leak
from sgpo.strategies.parsing import ParsedStrategy

KNIGHTS = Problem(
    question='You meet Zoe and Riley. Zoe said, "Riley is a knave". Who is a knight and who a knave?',
    answer="Zoe is a knight, and Riley is a knave", domain="reasoning-gym",
)  # fmt: skip
SORTING = Problem(question="Sort these words: pear, fig, apple.", answer="apple, fig, pear", domain="reasoning-gym")
ANAGRAM = Problem(question="Unscramble: RETAW", answer="water", domain="exact")
YES = Problem(question="Does it follow?", answer="Yes", domain="exact")
CHOICE = Problem(question="Which? A) 1 B) 2", answer="B", domain="choice")
SUM_OF_SQUARES = Problem(
    question="Write squares(numbers), the sum of the squares of a list.",
    answer="def squares(numbers):\n    total = 0\n    for number in numbers:\n        total += number * number\n"
    "    return total",
    domain="code",
)  # fmt: skip


def strategy(step: str) -> ParsedStrategy:
    return ParsedStrategy("A kind of task", "Look at the whole first.", ("Read it.", step))


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        (KNIGHTS, "Conclude that Zoe is a knight."),
        (KNIGHTS, "So riley is a knave, as was said."),
        (SORTING, "The order is apple, fig, pear."),
        (ANAGRAM, "Think of what one drinks: water."),
        (YES, "The answer is yes."),
        (CHOICE, "So the answer: B."),
        (Problem(question="Fill in.", answer="1 2 3 4\n3 4 1 2", domain="json"), "The first row is 1 2 3 4."),
        (Problem(question="How many legs?", answer="248", domain="reasoning-gym"), "Add up to 248."),
    ],
)
def test_a_part_of_a_puzzles_answer_is_a_leak(problem: Problem, step: str) -> None:
    leak = find_domain_leak(strategy(step), problem, "logic")
    assert leak is not None
    assert leak.reason == "states_answer"


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        (KNIGHTS, "Assume that one speaker is a knight and follow what that makes of the others."),
        (SORTING, "Compare the first letters, then the second ones where they agree."),
        (ANAGRAM, "Try common endings, then place the vowels."),
        (YES, "Draw a circle for each set; yes or no follows from whether one lies in the other."),
        (CHOICE, "Rule out the options that break a condition."),
    ],
)
def test_words_about_the_method_are_none(problem: Problem, step: str) -> None:
    assert find_domain_leak(strategy(step), problem, "logic") is None


@pytest.mark.parametrize(
    "step",
    ["Inside the loop do total += number * number.", "Use `number*number` for each.", "First of all: total = 0.",
     "def squares(numbers): sums up.", "```python", "Take sum(n * n for n in numbers)."],
)  # fmt: skip
def test_a_line_or_an_expression_of_the_program_is_a_leak(step: str) -> None:
    response = "```python\ndef squares(numbers):\n    return sum(n * n for n in numbers)\n```"
    leak = find_domain_leak(strategy(step), SUM_OF_SQUARES, "code", response)
    assert leak is not None


@pytest.mark.parametrize(
    "step",
    ["Go through the list once and add up what each number gives.", "Return the total at the end.",
     "Begin with nothing; an empty list gives zero.", "squares(numbers) must not change its argument."],
)  # fmt: skip
def test_words_about_the_program_are_none(step: str) -> None:
    assert find_domain_leak(strategy(step), SUM_OF_SQUARES, "code") is None


@given(st.text(max_size=80), st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and "\0" not in text))
def test_no_text_makes_a_check_fail(step: str, answer: str) -> None:
    try:
        problem = Problem(question="Which one?", answer=answer)
    except ValueError:
        return
    for prompts in ("logic", "code"):
        find_domain_leak(strategy(step), problem, prompts, step)


def test_mathematics_is_checked_as_before() -> None:
    problem = Problem(question="What is 20 + 22?", answer="42")
    for step in ("It makes 42.", "Add the tens first."):
        assert find_domain_leak(strategy(step), problem, "mathematics") == find_leak(strategy(step), problem)
