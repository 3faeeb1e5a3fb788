"""Lenient verdicts: an answer in another form than a box counts beside the strict verdict, a mere mention does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems import Problem, Verifier
from sgpo.problems.comparison import expect
from sgpo.problems.lenient import MOST_WORDS_AFTER, lenient_answer


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout_s=30.0, workers=1) as opened:
        yield opened


def problem(answer: str) -> Problem:
    return Problem(question="How many apples has she?", answer=answer)


def lenient(verifier: Verifier, response: str, answer: str) -> bool:
    (verdict,) = verifier.score_many([(response, problem(answer))], lenient=True)
    assert verdict.lenient is not None
    return verdict.lenient


@pytest.mark.parametrize(
    ("response", "gold", "answer"),
    [
        ("3 + 4 = 7. The answer is 7.", "7", "7"),
        ("The final answer is: **7 apples**", "7", "7"),
        ("**Answer:** $7$", "7", "7"),
        ("The answer to the question is 3 + 4 = 7 apples.", "7", "7"),
        ("The answer is:\n\n7", "7", "7"),
        ("The answer is 7 because it is not 8.", "7", "7"),
        ("3 + 4 is 7\n#### 7", "7", "7"),
        ("So she has **7** of them.", "7", "7"),
        ("5 × 2 = 10, and 10 - 3 = 7.", "7", "7"),
        ("She has 7 apples left.", "7", "7"),
        ("Between them they picked 7 apples.", "7", "7"),
        ("3 + 4 = 7, which means that 7 apples were sold in the week.", "7", "7"),
        ("The answer is 1,234.50 dollars.", "1234.5", "1,234.50"),
        ("The answer is −3.", "-3", "-3"),
        (r"The answer is \(\frac{1}{2}\).", "1/2", r"\frac{1}{2}"),
        ("The answer is (C).", "(C)", "(C)"),
        ("We find f(x) = 2x + 1.", "2x+1", "2x + 1"),
        ("The answer is Evelyn because she is tall.", r"\text{Evelyn}", "Evelyn"),
        ("<think>The answer is 8.</think>The answer is 7.", "7", "7"),
        ("The answer is 7.\n\nQuestion: What is 4?\nThe answer is 4.", "7", "7"),
        ("The answer is 7. No, the answer is 8.", "7", "8"),
    ],
)
def test_the_usual_forms_of_a_final_answer_are_read(response, gold, answer):
    assert lenient_answer(response, expect(gold, "q")) == answer


@pytest.mark.parametrize(
    "response",
    [
        "The answer is not 7.",
        "I doubt whether the answer is 7.",
        "The answer is 7?",
        "The answer is 7 or 8.",
        "The answer is 7 of the 12.",
        "It may be 7. I do not know.",
        "Maybe 7.",
        "It is between 7 and 9.",
        "<think>The answer is 7.",
        "7 apples were there, and then she went on and on about what she had seen",
        "There were 7. And so they lived on.",
        "",
    ],
)
def test_doubt_denial_and_mentions_state_no_answer(response):
    assert lenient_answer(response, expect("7", "q")) is None


def test_a_box_is_the_answer_whatever_is_said_beside_it(verifier):
    assert not lenient(verifier, r"\boxed{8} The answer is 7.", "7")
    assert lenient(verifier, r"\boxed{7} The answer is 8.", "7")


def test_the_strict_verdict_is_the_same_with_and_without_the_lenient_one(verifier):
    responses = [r"\boxed{7}", r"\boxed{8}", "The answer is 7.", "The answer is x+1.", "#### 7", "\\boxed{7", ""]
    pairs = [(response, problem(gold)) for response in responses for gold in ("7", "x+1")]
    strict, both = verifier.score_many(pairs), verifier.score_many(pairs, lenient=True)
    assert [(one.correct, one.extracted, one.reason) for one in strict] == [
        (one.correct, one.extracted, one.reason) for one in both
    ]
    assert all(one.lenient is None and one.stated is None for one in strict)
    assert all(one.lenient or not one.correct for one in both)


def test_an_answer_in_words_of_mathematics_is_judged_as_a_box_would_be(verifier):
    assert lenient(verifier, "The answer is 1 + x.", "x+1")
    assert not lenient(verifier, "The answer is 1 - x.", "x+1")


def plainly(response: str) -> str | None:
    """An extractor of its own for the made-up responses below: words and string searches, nothing of the verifier's."""
    *_, line = response.strip().split("\n")
    if line.startswith("#### "):
        return line[5:]
    place = response.rfind("answer is ")
    if place >= 0:
        return response[place + len("answer is ") :].split()[0].strip(".*$")
    words = response.strip().rstrip(".").split(". ")[-1].split()
    places = [place for place, word in enumerate(words) if word.strip("*$").isdigit()]
    return words[places[-1]].strip("*$") if places and len(words) - 1 - places[-1] <= MOST_WORDS_AFTER else None


ENDINGS = (
    "The answer is {}.", "So the final answer is **{}**.", "The answer is ${}$.", "The answer is {} apples.",
    "\n#### {}", "That makes {}.", "She has {} apples left.", "So **{}** apples.", "3 + 4 = {}.",
    "Nothing is left to say.",
    "She went on to the market where there were many more people than she had ever seen.",
    "With {} apples in her bag she went on to the market and sold some and ate others.",
)  # fmt: skip
number = st.integers(1, 30).map(str)


@settings(max_examples=300, deadline=None)
@given(
    gold=number, ending=st.sampled_from(ENDINGS), value=number,
    steps=st.lists(st.tuples(st.sampled_from(("She buys {} apples.", "Then {} are there.", "6 + 2 = {}.")), number)),
)  # fmt: skip
def test_made_up_responses_get_the_credit_that_a_plain_extractor_gives(gold, ending, value, steps, verifier):
    response = " ".join([*(step.format(shown) for step, shown in steps), ending.format(value)])
    assert lenient(verifier, response, gold) == (plainly(response) == gold)


@settings(max_examples=300, deadline=None)
@given(gold=number, before=st.lists(number, max_size=5), tail=st.integers(MOST_WORDS_AFTER + 1, 40))
def test_a_run_on_that_only_mentions_the_gold_gets_no_credit(gold, before, tail, verifier):
    mentions = " ".join(f"There are {shown} of {gold}." for shown in before)
    for ending in (f"She took {gold} and" + " went on" * tail, "And so on." + " And on." * tail):
        assert not lenient(verifier, f"{mentions} {ending}", gold)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=60)
    | st.lists(st.sampled_from(("answer is ", "= ", "**", "#### ", "7", ".", " ", "\n", "?", "not ", "$")), max_size=30)
    .map("".join)
)  # fmt: skip
def test_looking_for_a_stated_answer_never_raises(text):
    for gold in ("7", "x+1", "(1,2)"):
        answer = lenient_answer(text, expect(gold, "q"))
        assert answer is None or answer
