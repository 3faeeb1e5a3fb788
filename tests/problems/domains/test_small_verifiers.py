"""Text, choice and JSON answers: what is stated, and when it is the gold one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.problems import Problem
from sgpo.problems.domains import choice, exact, json_equality
from sgpo.problems.domains.stated import LONGEST, stated_answer, tagged


def asked(answer: str, domain: str = "exact") -> Problem:
    return Problem(question="Which?", answer=answer, domain=domain)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("It is clear.\n<answer>\nParis\n</answer>", "Paris"),
        ("<answer>Rome</answer> no: <answer>Paris</answer>", "Paris"),
        ("<answer>Rome</answer> no: <answer>Par", None),
        ("<answer>Par", None),
        (r"It is \boxed{Paris}.", "Paris"),
        (r"Answer: Rome \boxed{Paris", None),
        ("Answer: Rome\nAnswer: Paris", "Paris"),
        ("**Final answer:** Paris", "Paris"),
        ("The answer is Paris.", None),
        ("<think><answer>Rome</answer></think> I do not know.", None),
        ("<think>so</think>\nAnswer: Paris", "Paris"),
        ("<answer></answer>", None),
        ("", None),
        (tagged("x" * (LONGEST + 1)), None),
    ],
)
def test_the_last_closed_statement_after_thinking_is_the_answer(response: str, answer: str | None) -> None:
    assert stated_answer(response) == answer


@given(st.text(min_size=1).filter(lambda text: text.strip() and "<" not in text))
def test_a_tagged_text_is_read_back_whatever_it_is_unless_it_ends_the_turn(answer: str) -> None:
    found = stated_answer(tagged(answer))
    markers = ("[INST]", "[/INST]", "[THINK]", "[/THINK]", "◁")
    assert found == answer.strip() or any(mark in answer.upper() for mark in markers)


@pytest.mark.parametrize(
    ("stated", "gold", "correct"),
    [("paris.", "Paris", True), ('"Paris"', "Paris", True), (r"\text{Paris}", "paris", True), 
     ("Pa ris", "Paris", False),
     ("new   york", "New York", True), ("ﬁne", "fine", True), ("Paris, France", "Paris", False), ("no", "not", False)],
)  # fmt: skip
def test_text_is_equal_but_for_spacing_case_and_quotes(stated: str, gold: str, correct: bool) -> None:
    verdict = exact.judge(f"Answer: {stated}", asked(gold))
    assert (verdict.correct, verdict.reason) == (correct, "correct" if correct else "wrong")


def test_case_counts_where_the_option_says_so() -> None:
    assert exact.judge("Answer: us", asked("US")).correct
    assert not exact.judge("Answer: us", asked("US"), case=True).correct


@pytest.mark.parametrize(("gold", "stated"), [("22", "2²"), ("H2O", "H₂O"), ("112", "1½")])
def test_a_raised_or_lowered_figure_is_another_answer(gold, stated):
    assert not exact.judge(f"Answer: {stated}", asked(gold)).correct
    assert exact.judge(f"Answer: {stated}", asked(stated)).correct
    assert exact.judge("Answer: ＡＢ１", asked("AB1")).correct


@pytest.mark.parametrize(
    ("stated", "reason"),
    [("B", "correct"), ("(b)", "correct"), ("B.", "correct"), (r"\text{B}", "correct"), ("B) Paris", "correct"),
     ("Option B", "correct"), ("C", "wrong"), ("B or C", "unparsable"), ("(B) and (C)", "unparsable"),
     ("B) or (C)", "unparsable"), ("F", "unparsable"), ("Because", "unparsable"), ("", "no_answer"),
     ("B, C", "unparsable"), ("B, C, D", "unparsable"), ("B, C.", "unparsable"), ("B, a city", "correct")],
)  # fmt: skip
def test_a_choice_is_one_letter_however_it_is_dressed(stated: str, reason: str) -> None:
    assert choice.judge(f"<answer>{stated}</answer>", asked("B")).reason == reason


def test_letters_are_those_of_the_option() -> None:
    assert choice.judge("Answer: F", asked("F")).reason == "unparsable"
    assert choice.judge("Answer: F", asked("F"), letters="ABCDEFG").correct


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@given(VALUES)
def test_a_json_value_is_itself_in_any_layout_and_no_longer_when_wrapped(value: object) -> None:
    gold = asked(json.dumps(value), "json")
    for indent in (None, 1):
        text = json.dumps(value, indent=indent, sort_keys=True)
        assert json_equality.judge(f"```json\n{text}\n```", gold).correct
    assert not json_equality.judge(f"```json\n[{json.dumps(value)}]\n```", gold).correct


@pytest.mark.parametrize(
    ("stated", "gold", "reason"),
    [('{"b":2,"a":1}', '{"a":1,"b":2}', "correct"), ("1.0", "1", "correct"), ("true", "1", "wrong"),
     ('"1"', "1", "wrong"), ("[1,2]", "[2,1]", "wrong"), ('{"a":1,"a":2}', '{"a":2}', "unparsable"),
     ("NaN", "1", "unparsable"), ("1e999", "1", "unparsable"), ("[" * 100_00, "1", "unparsable"), 
     ("{", "1", "unparsable")],
)  # fmt: skip
def test_json_is_compared_as_values(stated: str, gold: str, reason: str) -> None:
    assert json_equality.judge(f"<answer>{stated}</answer>", asked(gold, "json")).reason == reason
