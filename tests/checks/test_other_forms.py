"""An answer that is right in another form than a box is named by its form."""

import pytest

from sgpo.checks.other_forms import other_form
from sgpo.problems import Problem

PROBLEM = Problem(question="What is 8 times 9?", answer="72")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("8 * 9 = 72\n#### 72", "after ####"),
        ("So the answer is 72. Done, in 2 steps.", "'the answer is …'"),
        ("**Final answer:** 72", "'the answer is …'"),
        ("8 times 9 gives 72", "the last number"),
        ("8 times 9 gives 72, which is 1 less than 73", None),
        ("", None),
        ("The answer is 1,072", None),
    ],
)
def test_the_form_of_a_right_answer_is_named(text: str, form: str | None) -> None:
    assert other_form(text, PROBLEM) == form


def test_thousands_and_golds_with_marks_are_read() -> None:
    assert other_form("The answer is 1,234", Problem(question="How many?", answer="#### 1234")) == "'the answer is …'"
