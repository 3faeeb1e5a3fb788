"""Answers from public reports of graders that erred: each gets the verdict that is right."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems import Problem, Verifier

ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("reported_answers.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout_s=10.0, workers=1) as opened:
        yield opened


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_reported_answer_gets_the_right_verdict(row: dict, verifier: Verifier) -> None:
    fields = {name: row[name] for name in ("unit", "multiple", "tolerance") if name in row}
    problem = Problem(question=row.get("question", "What is it?"), answer=row["answer"], **fields)
    verdict = verifier.score(row["response"], problem)
    assert verdict.correct == row["want"], verdict


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("6", "1 2 3"), ("12", "3 4"), ("5/2", "52"), ("x", "|x|"), ("|x|", "x"), ("\\sqrt{x^2}", "x"),
        ("1234", "1,23,4"), ("1234", "12,34"), ("y = 2x + 1", "y = 2x + 2"),
        ("2x - y + 1 = 0", "y = 2x"), ("2x - y + 1 = 0", "y = -2x - 1"),
        ("C", "\\text{D}"), ("C", "\\text{CC}"), ("12", "12 公里"), ("18", "\\$1.8"), ("1234", "\\$12,34"),
        ("1234", "(1,234)"), ("1234", "\\{1,234\\}"), ("0.5", "50 \\text{ km}"), ("1/2", "1 2"), ("\\pi/2", "pi/3"),
        ("\\sqrt{1/n}", "\\frac{1}{n}"), ("e^{16}", "exp(15)"), ("12", "1 2"), ("1 234", "1 23 4"),
    ],
)  # fmt: skip
def test_a_wrong_answer_nearby_is_not_accepted(gold: str, answer: str, verifier: Verifier) -> None:
    assert not verifier.score(f"\\boxed{{{answer}}}", Problem(question="What is it?", answer=gold)).correct


MARKED = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "\\boxed{", "}", "{", "7", "1,234", "\\frac", "<|im_end|>", " ", "\\text{", "%"]
    )
    | st.text(max_size=4),
    max_size=30,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(response=MARKED, answer=MARKED.filter(lambda text: bool(text.strip())))
def test_no_text_crashes_the_judge(response: str, answer: str, verifier: Verifier) -> None:
    try:
        problem = Problem(question="What is it?", answer=answer)
    except ValueError:
        return  # what is no gold is refused by the schema
    assert verifier.score(response, problem).reason != "crashed"
