"""An equation worked out step by step, and rows of word problems that have one."""

from __future__ import annotations

import contextlib
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.problems import ProblemFileError, Verifier
from sgpo.problems.equations import worked_out
from sgpo.problems.sources import read_sources
from sgpo.problems.values import FieldError

OWN = Path(__file__).resolve().parents[2] / "data" / "word_problems"


@pytest.mark.parametrize(
    ("equation", "answer", "text"),
    [
        ("37 + 25", "62", "37 + 25 = 62. The answer is \\boxed{62}."),
        ("6 * 14 - 38 - 17", "29", "6 * 14 = 84. 84 - 38 = 46. 46 - 17 = 29. The answer is \\boxed{29}."),
        ("(96 - 24) / 9", "8", "96 - 24 = 72. 72 / 9 = 8. The answer is \\boxed{8}."),
        ("0.1 + 0.2", "0.3", "0.1 + 0.2 = 0.3. The answer is \\boxed{0.3}."),
        ("5 / 3", "5/3", "5 / 3 = 5/3. The answer is \\boxed{5/3}."),
        ("-4 + 10", "6", "-4 + 10 = 6. The answer is \\boxed{6}."),
        (
            "12345678901234.5 + 1",
            "12345678901235.5",
            "12345678901234.5 + 1 = 12345678901235.5. The answer is \\boxed{12345678901235.5}.",
        ),
        ("0.25 - 1", "-0.75", "0.25 - 1 = -0.75. The answer is \\boxed{-0.75}."),
        ("7", "7", "The answer is \\boxed{7}."),
    ],
)
def test_every_operation_is_a_sentence(equation: str, answer: str, text: str) -> None:
    assert worked_out(equation, answer) == text


@pytest.mark.parametrize(
    ("equation", "answer", "message"),
    [
        ("37 + 25", "61", "which is 62, but 'answer' is '61'"),
        ("3 +", "3", "expected numbers with"),
        ("x + 3", "3", "expected numbers with"),
        ("__import__('os')", "3", "expected numbers with"),
        ("2 ** 99", "3", "expected numbers with"),
        ("True + 1", "2", "expected numbers with"),
        ("4 / (2 - 2)", "3", "divides by zero"),
        ("1" * 201, "1", "has 201 characters"),
        ("3 + 4", "seven", "which is 7"),
    ],
)
def test_what_is_no_equation_of_the_answer_is_refused(equation: str, answer: str, message: str) -> None:
    with pytest.raises(FieldError, match=message.replace("(", r"\(")):
        worked_out(equation, answer)


@given(st.text(max_size=40))
def test_any_text_is_worked_out_or_refused(text: str) -> None:
    with contextlib.suppress(FieldError):
        assert worked_out(text, "7").endswith("The answer is \\boxed{7}.")


numbers = st.integers(0, 500).map(str)
expressions = st.recursive(
    numbers, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda e: f"({e[0]} {e[1]} {e[2]})"),
    max_leaves=6,
)  # fmt: skip


@given(expressions)
def test_each_step_is_right_and_the_last_is_the_value(expression: str) -> None:
    value = eval(expression)  # whole numbers alone: Python's own arithmetic is exact
    *steps, _ = worked_out(expression, str(value)).split(". ")
    results = [step.split(" = ") for step in steps]
    assert all(eval(left) == int(right) for left, right in results)
    assert not results or int(results[-1][1]) == Fraction(value)


def test_rows_with_an_equation_have_their_tier_and_a_response(tmp_path: Path) -> None:
    row = {"id": "a", "tier": 3, "schema": "s", "question": "How many?", "equation": "2 * 3 + 1", "answer": "7"}
    (tmp_path / "own.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (problem,), (report,) = read_sources([tmp_path / "own.jsonl"])
    assert (problem.id, problem.difficulty, problem.answer, report.layout) == ("a", 3, "7", "word_problems")
    assert problem.response == "2 * 3 = 6. 6 + 1 = 7. The answer is \\boxed{7}."
    wrong = {**row, "id": "b", "question": "How few?", "answer": "8"}
    (tmp_path / "own.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(wrong)}\n", encoding="utf-8")
    with pytest.raises(ProblemFileError, match=r"own.jsonl row 2: 'equation' is '2 \* 3 \+ 1', which is 7, but 'ans"):
        read_sources([tmp_path / "own.jsonl"])


def test_the_projects_own_problems_are_disjoint_and_their_responses_right() -> None:
    splits = {name: read_sources([OWN / f"{name}.jsonl"])[0] for name in ("train", "tuning", "held_out")}
    assert {name: len(problems) for name, problems in splits.items()} == {"train": 300, "tuning": 60, "held_out": 220}
    everything = [problem for problems in splits.values() for problem in problems]
    assert len({problem.id for problem in everything}) == len({problem.question for problem in everything}) == 580
    with Verifier() as verifier:
        assert all(verdict.correct for verdict in verifier.score_many([(p.response or "", p) for p in everything]))


def test_a_decimal_beyond_the_largest_float_is_refused_in_a_line() -> None:
    with pytest.raises(FieldError, match="'answer' is '1'"):
        worked_out("1e308 * 1e308 + 0.5", "1")
