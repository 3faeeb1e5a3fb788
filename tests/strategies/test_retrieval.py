import random

import pytest
from banks import PARITY, VIETA, asked_bank, strategy
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems.schema import Problem
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view import retrieval
from sgpo.strategies.view.retrieval import Match, RetrievalError, StrategyIndex

ROOTS = Problem(id="roots", question="The roots of x^2 - 5x + 3 are r and s. Find r^2 + s^2.", answer="19")
CUBIC = Problem(id="cubic", question="Let a, b, c be the roots of x^3 - 4x + 1. Find a^2 + b^2 + c^2.", answer="8")
BOARD = Problem(id="board", question="Can dominoes tile an 8 by 8 board without two opposite corners?", answer="no")
PROBLEMS = [ROOTS, CUBIC, BOARD]
BANK = {"roots": strategy("roots"), "cubic": strategy("cubic", score=0.9), "board": strategy("board", PARITY)}


def by_id(strategies: list[Strategy]) -> dict[str, Strategy]:
    return {item.problem_id: item for item in strategies}


def best(index: StrategyIndex, question: str, own: str | None = None) -> Match:
    return index.nearest([question], ids=[own])[0][0]


def test_a_question_gets_the_strategy_of_its_kind_and_the_problem_it_is_most_like() -> None:
    index = StrategyIndex(PROBLEMS, BANK)
    tiling = best(index, "Can dominoes tile a 7 by 7 board without its middle?")
    assert (tiling.problem_id, tiling.strategy) == ("board", BANK["board"])
    assert best(index, "The roots of x^2 - 8x + 6 are r and s. Find r^2 + s^2.").problem_id == "roots"
    assert best(index, "Let a, b, c be the roots of x^3 - 9x + 2. Find a^2 + b^2 + c^2.").problem_id == "cubic"


def test_other_numbers_change_nothing() -> None:
    index = StrategyIndex(PROBLEMS, BANK)
    assert index.nearest([ROOTS.question]) == index.nearest([ROOTS.question.replace("5", "1,250.75")])


def test_the_problem_itself_is_never_its_own_example() -> None:
    index = StrategyIndex(PROBLEMS, BANK)
    assert best(index, ROOTS.question).problem_id == "roots"
    found = index.nearest([ROOTS.question], 3, ids=["roots"])[0]
    assert [match.problem_id for match in found] == ["cubic", "board"]
    only = StrategyIndex([ROOTS], {"roots": BANK["roots"]})
    assert only.nearest([ROOTS.question], ids=["roots"]) == [[]]


def test_alternatives_are_different_texts_from_the_most_similar_on() -> None:
    index = StrategyIndex(PROBLEMS, BANK)
    (found,) = index.nearest([CUBIC.question], k=5)
    assert [match.strategy.approach for match in found] == [VIETA, PARITY]
    assert found[0].similarity > found[1].similarity


def test_similarity_tells_known_questions_from_foreign_ones() -> None:
    problems, strategies, _ = asked_bank(150)
    index = StrategyIndex(problems, by_id(strategies))
    known, foreign, unknown = (
        best(index, text).similarity
        for text in (problems[0].question, "A triangle has the sides 3, 4, 5. What is its area?", "żółw ξ")
    )
    assert 1.0 >= known > 0.5 > 0.4 > foreign > unknown == 0.0


@pytest.mark.parametrize(("learned_from", "least"), [(240, 0.95), (120, 0.8)], ids=["all", "every second one"])
def test_new_questions_of_the_testbed_get_a_strategy_with_their_plan(
    learned_from: int, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right plan hangs on the wording of three phrases; by chance one in eight is right."""
    monkeypatch.setattr(retrieval, "_LEARNED_FROM", learned_from)
    problems, strategies, plans = asked_bank(320)
    index = StrategyIndex(problems[:240], by_id(strategies[:240]))
    new = problems[240:]
    found = index.nearest([problem.question for problem in new])
    right = [plans[match[0].problem_id] == plans[problem.id] for match, problem in zip(found, new, strict=True)]
    assert sum(right) / len(right) >= least
    left_out = {problem.id for problem in problems[:240]} - set(sorted(by_id(strategies[:240]))[:: 240 // learned_from])
    assert any(match[0].problem_id in left_out for match in found) == bool(left_out)


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_bank_does_not_matter(shuffle: random.Random, k: int) -> None:
    problems, strategies, _ = asked_bank(40)
    questions = [problem.question for problem in asked_bank(10, seed=1)[0]]
    expected = StrategyIndex(problems, by_id(strategies)).nearest(questions, k)
    shuffle.shuffle(problems)
    shuffle.shuffle(strategies)
    assert StrategyIndex(problems, by_id(strategies)).nearest(questions, k) == expected
    assert all(len(matches) == k for matches in expected)


def test_many_questions_are_answered_as_each_alone() -> None:
    problems, strategies, _ = asked_bank(30)
    index = StrategyIndex(problems, by_id(strategies))
    questions = [problem.question for problem in problems] * 10
    together = index.nearest(questions, 2)
    assert len(together) == 300
    assert together[299] == index.nearest(questions[299:], 2)[0]
    assert index.nearest([]) == []


def test_a_bank_of_one_long_text_and_a_bank_of_many_words_are_fine() -> None:
    long = strategy("roots", " ".join(f"word{number}" for number in range(300)))
    same = {name: long.model_copy(update={"problem_id": name}) for name in BANK}
    assert best(StrategyIndex(PROBLEMS, same), BOARD.question).problem_id == "board"
    assert best(StrategyIndex(PROBLEMS, {**BANK, "roots": long}), ROOTS.question).strategy == long


@given(st.lists(st.text(max_size=15).filter(str.strip), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_a_question(questions: list[str]) -> None:
    problems = [
        Problem.model_construct(id=f"p{number}", question=text, answer="1") for number, text in enumerate(questions)
    ]
    index = StrategyIndex(problems, {problem.id: strategy(problem.id) for problem in problems})
    for (match,) in index.nearest(questions):
        assert 0.0 <= match.similarity <= 1.0


@pytest.mark.parametrize(
    ("problems", "strategies", "message"),
    [
        (PROBLEMS, {}, r"no strategies to retrieve from"),
        (PROBLEMS[:1], BANK, r"the strategy of 'board' has no problem \(expected one of 1\)"),
    ],
)
def test_a_bank_that_cannot_be_asked_is_refused(
    problems: list[Problem], strategies: dict[str, Strategy], message: str
) -> None:
    with pytest.raises(RetrievalError, match=message):
        StrategyIndex(problems, strategies)


def test_a_question_that_cannot_be_answered_is_refused() -> None:
    index = StrategyIndex(PROBLEMS, BANK)
    with pytest.raises(RetrievalError, match=r"k is 0 \(expected at least 1\)"):
        index.nearest(["Why?"], 0)
    with pytest.raises(RetrievalError, match=r"1 ids for 2 questions"):
        index.nearest(["Why?", "How?"], ids=["a"])
