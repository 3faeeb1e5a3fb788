import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.leak import find_leak
from sgpo.strategies.parsing import ParsedStrategy

BAKERY = Problem(question="A bakery opened with 23 loaves, then 4, 6 and 3 came in. How many are there?", answer="36")


def strategy(step: str, approach: str = "Carry the count forward through the log.") -> ParsedStrategy:
    return ParsedStrategy("Running count", approach, ("Begin with the given count.", step))


def reason(step: str, question: str = BAKERY.question, answer: str = "36") -> str | None:
    leak = find_leak(strategy(step), Problem(question=question, answer=answer))
    return leak.reason if leak else None


@pytest.mark.parametrize(
    "step",
    [
        "Add each entry in turn.",
        "Repeat step 2 for the rest, as in steps 1-3.",
        "Split into two cases and treat the three entries alike.",
        "Start from 23 and add 4, 6 and 3 in this order.",
        "Set the expression equal to 0 and divide by 2.",
        "Use x^2 + 2xy + y^2 = (x + y)^2 and sin 2t = 2 sin t cos t.",
        "Work modulo 10, or convert 180 degrees.",
        "Look for pairs that make the total asked for.",
    ],
)
def test_a_strategy_that_only_tells_how_passes(step: str) -> None:
    assert find_leak(strategy(step), BAKERY) is None


@pytest.mark.parametrize(
    "step",
    [
        "State 36.",
        "The answer is $36$.",
        r"Conclude with \boxed{36}.",
        "Conclude that thirty-six loaves remain.",
        "Give 36.0 as the count.",
        "End with 36loaves.",
    ],
)
def test_the_final_answer_is_a_leak_however_it_is_written(step: str) -> None:
    assert reason(step) == "states_answer"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("Add the first entry, which makes 27.", "computes"),
        ("Add 23 + 4 = 27 first.", "computes"),
        ("Note that 23 plus 4 is 27.", "computes"),
        ("Add the first entry, which makes twenty-seven.", "computes"),
        ("Let the count be n = 27.", "computes"),
        ("Adding the entries gives a total of 13.", "computes"),
        ("Keep 27 in mind.", "states_result"),
        ("Scale by 2.75 at the end.", "states_result"),
    ],
)
def test_a_computed_number_is_a_leak(step: str, expected: str) -> None:
    assert reason(step, answer="99") == expected


def test_the_leak_is_found_in_every_part() -> None:
    for leaking in (
        ParsedStrategy("Count to 36", "Carry forward.", ("Begin.", "Add.")),
        ParsedStrategy("Count", "Carry forward to 36.", ("Begin.", "Add.")),
        ParsedStrategy("Count", "Carry forward.", ("Reach 36.", "Add.")),
    ):
        leak = find_leak(leaking, BAKERY)
        assert leak is not None
        assert leak.reason == "states_answer"
        assert "36" in leak.detail


def test_step_numbers_are_no_results() -> None:
    steps = tuple(f"Do part {letter}." for letter in "abcdefghijklmnopqrst")
    assert (
        find_leak(ParsedStrategy("Count", "Carry forward.", steps), Problem(question="How many?", answer="17")) is None
    )


@pytest.mark.parametrize(
    "step", ["Repeat step 7 for the rest.", "Combine steps 5, 6 and 7.", "Insert it in equation (7)."]
)
def test_a_reference_to_a_step_or_equation_is_not_the_answer(step: str) -> None:
    assert reason(step, answer="7") is None
    assert reason(step + " That is 7.", answer="7") == "states_answer"


def test_an_answer_that_the_question_contains_leaks_only_where_it_is_given_as_the_answer() -> None:
    question = "Of 23 loaves 10 were sold and 10 baked. How many are there?"
    assert reason("Start from 23.", question, "23") is None
    assert reason("The answer is 23.", question, "23") == "states_answer"
    assert reason("Adding them back makes 23.", question, "23") == "states_answer"


@pytest.mark.parametrize("answer", ["0", "1", "2"])
def test_the_smallest_numbers_leak_only_where_they_come_out(answer: str) -> None:
    assert reason(f"Compare the coefficient with {answer}.", answer=answer) is None
    assert reason(f"Set it equal to {answer} times the width.", answer=answer) is None
    assert reason(f"The final value is {answer}.", answer=answer) == "states_answer"
    assert reason(f"Give the count. It makes {answer}.", answer=answer) == "states_answer"


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (r"\frac{3}{14}", "Arrive at 3/14."),
        ("0.35", r"Arrive at \frac{7}{20}."),
        (r"\dfrac{7}{20}", "The ratio is then 0.35."),
        ("1,250", "Arrive at 1250 in the end."),
        ("-17", "Arrive at −17."),
        (r"17\text{ cm}", "Arrive at 17 centimetres."),
        ("45^\\circ", "Arrive at 45°."),
        (r"x = 17", "Substitute 17 back."),
        ("17, 19", "Check 19 as well."),
        (r"2\sqrt{3}", r"Simplify the root to $2 \sqrt{3}$."),
        (r"(3, \frac{\pi}{2})", r"Write it as \left( 3, \dfrac{\pi}{2} \right)."),
        ("x^2+1", "Find that the quotient must be x^2 + 1."),
        (r"\text{Evelyn}", "Compare the slopes to see that Evelyn is fastest."),
        ("B", "The answer is B."),
    ],
)
def test_answers_of_every_kind_are_recognised(answer: str, step: str) -> None:
    assert reason(step, "Which one is it?", answer) == "states_answer"


def test_a_word_in_the_question_or_inside_another_word_is_no_leak() -> None:
    assert reason("Test whether the number is even or odd.", "Is it even or odd?", "even") is None
    assert reason("Handle the events in order.", "Which parity?", "even") is None
    assert reason("Show that it is even.", "Which parity?", "even") == "states_answer"


@given(st.integers(13, 10**12), st.sampled_from(["End with {}.", "It makes {} in all.", "Write {} down", "= {}"]))
def test_any_larger_answer_stated_in_a_step_is_found(answer: int, wording: str) -> None:
    assert reason(wording.format(answer), "How many are there?", str(answer)) == "states_answer"


_SHOWN = st.characters(exclude_categories=("Cs", "Cc", "Cf"))  # what the schema of a problem takes
_FILLED = st.text(_SHOWN, min_size=1, max_size=40).filter(str.strip)


@given(st.text(max_size=80), _FILLED, _FILLED)
def test_the_check_never_raises(step: str, answer: str, question: str) -> None:
    leak = find_leak(strategy(step + "9" * 5000 + "/0"), Problem(question=question, answer=answer))
    assert leak is None or leak.detail
