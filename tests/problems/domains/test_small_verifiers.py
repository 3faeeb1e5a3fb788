"""Text, choice and JSON answers: what is stated, and when it is the gold one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.problems import Problem, Verifier
from sgpo.problems.domains import choice, exact, json_equality
from sgpo.problems.domains.stated import LONGEST, stated_answer, tagged
from sgpo.problems.responses import answer_part


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
     ("B, C", "unparsable"), ("B, C, D", "unparsable"), ("B, C.", "unparsable"), ("B, a city", "correct"),
     ("B: C", "unparsable"), ("B. D", "unparsable"), ("b, then d", "unparsable"), ("B, or maybe C", "unparsable"),
     ("B) and also (D", "unparsable"), ("B. C is possible too", "unparsable"), ("B) Rome; D", "unparsable"),
     ("B.. else E", "unparsable"), ("B: either a or b", "unparsable"), ("B) Ⓒ", "unparsable"),
     ("B. Not A", "unparsable"), ("B/C", "unparsable"), ("BC", "unparsable"), ("B) A city", "correct"),
     ("B) I'd say", "correct"), ("Ｂ", "correct"), ("В", "unparsable")],
)  # fmt: skip
def test_a_choice_is_one_letter_however_it_is_dressed(stated: str, reason: str) -> None:
    assert choice.judge(f"<answer>{stated}</answer>", asked("B")).reason == reason


@pytest.mark.parametrize(
    ("stated", "reason"),
    [("B) Vitamin C", "correct"), ("B. vitamin C", "correct"), ("B) Vitamin C C", "unparsable"), ("B) C", "unparsable"),
     ("B) Vitamin C) Sugar", "unparsable"), ("A) Vitamin C", "unparsable"), ("D) Vitamin D", "wrong")],
)  # fmt: skip
def test_the_option_s_own_text_may_have_a_letter_in_it(stated: str, reason: str) -> None:
    question = "Which is sour?\nA) Iron\nB) Vitamin C\nC) Sugar\nD) Vitamin D"
    problem = Problem(question=question, answer="B) Vitamin C", domain="choice")
    assert choice.judge(f"<answer>{stated}</answer>", problem).reason == reason


def test_letters_are_those_of_the_option() -> None:
    assert choice.judge("Answer: F", asked("F")).reason == "unparsable"
    assert choice.judge("Answer: F", asked("F"), letters="ABCDEFG").correct


# A text with the mark of a turn's end in it ends there, whatever it is in: "<eos>" is no value of an answer.
TEXT = st.text(max_size=5).filter(lambda text: answer_part(text) == text)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12,
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
     ("{", "1", "unparsable"), ("100000000000000000001.0", "1e20", "wrong"), ("1e-400", "0", "wrong"),
     ("9007199254740993.0", "9007199254740992", "wrong"), ("1e-99999999999999999999", "0", "unparsable"),
     ("9" * 10_000, "1", "unparsable"), ("1E+2", "100", "correct"), ("-0.0", "0", "correct"),
     ('{"a":{"b":1,"b":1}}', '{"a":{"b":1}}', "unparsable"), ("1 2", "1", "unparsable"), ("[1,]", "[1]", "unparsable"),
     ("[Infinity]", "[1]", "unparsable"), ("٤", "4", "unparsable"), ("1_0", "10", "unparsable"),
     ("+1", "1", "unparsable")],
)  # fmt: skip
def test_json_is_compared_as_values(stated: str, gold: str, reason: str) -> None:
    assert json_equality.judge(f"<answer>{stated}</answer>", asked(gold, "json")).reason == reason


@pytest.mark.parametrize(
    ("response", "reason"),
    [("```json\n1\n```\n```json\n2\n```", "wrong"), ("```json\n2\n```\n```json\n1\n```", "correct"),
     ("```json\n1\n```\n```json\n2", "no_answer"), ("```json\n1\n```\n<answer>2", "no_answer"),
     ("```json\n1\n```\n\\boxed{2", "no_answer"), ("<answer>\n```json\n1\n```\n</answer>", "correct"),
     ("<answer>```json\n1\n```\n```json\n2\n```</answer>", "unparsable"), ("```json\n1\n```\nAnswer: 2", "wrong")],
)  # fmt: skip
def test_of_several_json_blocks_the_last_counts_and_none_where_it_is_open(response: str, reason: str) -> None:
    assert json_equality.judge(response, asked("1", "json")).reason == reason


LONG = {
    "spaces": f"Answer: a{' ' * 200_000}b", "marks": f"Answer: {' *_' * 60_000}", "macros": tagged("\\text{" * 3000),
    "commas": tagged("b) " + "a, " * 6000), "articles": tagged("b) " + "a " * 9000), "ticks": "```" * 300_000,
    "fences": "```\n" * 200_000, "brackets": tagged("[" * 19_000), "tags": "<answer>" * 100_000,
    "wide letters": tagged("\ufdfa" * 19_000), "accents": tagged("a" + "\u0301\u0316" * 9000),
    "an exponent": tagged("1e" + "9" * 19_000), "boxes": "\\boxed{" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_a_response_without_end_is_judged_before_the_worker_s_time_is_up(name: str) -> None:
    """Each takes tenths of a second; spaces before the end of a line took the square of their number."""
    domains = ("exact", "choice", "json")
    pairs = [(LONG[name], asked("B" if domain != "json" else '"B"', domain)) for domain in domains]
    with Verifier(timeout_s=10.0, workers=1) as verifier:
        assert all(one.reason in ("wrong", "no_answer", "unparsable") for one in verifier.score_many(pairs))
