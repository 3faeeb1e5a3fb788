# ruff: noqa: E501 - answers read best on the lines they have
import json
import time

import pytest
from candidate_layouts import ACCEPTED, APPROACH, REFUSED, STEPS, TYPE
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.strategies.parsing import ParsedStrategy, parse_candidate, parse_ranking
from sgpo.strategies.refusals import Refusal
from sgpo.strategies.schema import CRITERIA

PERFECT = dict.fromkeys(CRITERIA, 1.0)


def scores(index: int, value: float = 0.5) -> dict[str, float]:
    return {"index": index, **dict.fromkeys(CRITERIA, value)}


@pytest.mark.parametrize("layout", ACCEPTED)
def test_the_same_strategy_is_read_from_every_layout(layout: str) -> None:
    parsed = parse_candidate(ACCEPTED[layout])
    assert isinstance(parsed, ParsedStrategy), parsed
    assert parsed.problem_type.rstrip(".") == TYPE
    assert parsed.approach == APPROACH
    assert parsed.steps == STEPS


@pytest.mark.parametrize("layout", REFUSED)
def test_what_is_no_strategy_is_refused_with_its_reason(layout: str) -> None:
    reason, text = REFUSED[layout]
    refusal = parse_candidate(text)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == reason
    assert refusal.detail
    assert "\n" not in refusal.detail


def test_details_below_a_numbered_step_belong_to_it() -> None:
    parsed = parse_candidate(
        "Problem type: Linear equation\nStrategy: Isolate the unknown.\nSteps:\n"
        "1. **Collect terms**\n   - unknowns on the left\n   - the rest on the right\n2. **Divide** by the coefficient"
    )
    assert isinstance(parsed, ParsedStrategy)
    assert parsed.steps == ("Collect terms unknowns on the left the rest on the right", "Divide by the coefficient")


def test_a_label_inside_a_step_does_not_end_the_steps() -> None:
    parsed = parse_candidate(
        "Problem type: Integral\nStrategy: Substitution.\nSteps:\n1. Technique: substitute the inner part.\n2. Integrate."
    )
    assert isinstance(parsed, ParsedStrategy)
    assert parsed.steps == ("Technique: substitute the inner part.", "Integrate.")


def test_latex_in_json_keeps_its_backslashes() -> None:
    parsed = parse_candidate(
        r'{"problem_type": "Limit of a \frac{f}{g}", "strategy": "Expand \sin and \theta.", "steps": ["a \times b", "c\nd"]}'
    )
    assert isinstance(parsed, ParsedStrategy)
    assert parsed.problem_type == r"Limit of a \frac{f}{g}"
    assert parsed.approach == r"Expand \sin and \theta."
    assert parsed.steps == (r"a \times b", "c d")


def test_a_parsed_strategy_is_read_back_from_its_own_text() -> None:
    parsed = parse_candidate(ACCEPTED["as asked"])
    assert isinstance(parsed, ParsedStrategy)
    assert parse_candidate(parsed.text()) == parsed


_FRAGMENTS = st.sampled_from(
    [
        *(
            "Problem type:",
            "**Strategy**",
            "## Steps",
            "1. ",
            "a) ",
            "- ",
            "\n",
            "\n\n",
            "  ",
            "| ",
            "<think>",
            "</think>",
        ),
        *(
            "```json\n",
            "```",
            '{"',
            '":',
            "[",
            "]",
            "}",
            "{",
            ",",
            "\\frac{",
            "\ud800",
            "→",
            "Then ",
            "...",
            "0.5",
            "NaN",
        ),
        *(
            '"problem_type"',
            '"strategy"',
            '"steps"',
            '"index": 1',
            '"no_leak": 1e400',
            "<step>",
            "<br>",
            "\\",
            "\x00",
            "9" * 5000,
        ),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(_FRAGMENTS | st.text(max_size=5), max_size=40).map("".join), st.integers(1, 5))
def test_reading_never_raises_and_always_gives_a_record_or_a_reason(text: str, count: int) -> None:
    parsed = parse_candidate(text)
    if isinstance(parsed, ParsedStrategy):
        assert all((parsed.problem_type, parsed.approach, *parsed.steps))
        assert len(parsed.steps) >= 2
        parsed.text().encode("utf-8")
    else:
        assert all((parsed.reason, parsed.detail))
    ranking = parse_ranking(text, count)
    assert isinstance(ranking, Refusal) or len(ranking) == count


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda item: st.lists(item) | st.dictionaries(
    st.sampled_from(["problem_type", "strategy", "steps", "no_leak", "index", "1", "scores", "x"]), item), max_leaves=20))  # fmt: skip
def test_json_of_any_shape_never_raises(value: object) -> None:
    parse_candidate(json.dumps(value))
    parse_ranking(json.dumps(value), 2)


@pytest.mark.parametrize(
    "piece", ["{", "[", "* ", "**", "1. ", "\\", "<think>", " ", "Steps: ", "| ", ". ", "1,", "[[1],", "- a\n"]
)
def test_absurdly_repetitive_answers_are_read_in_reasonable_time(piece: str) -> None:
    text = "Problem type: a b\nStrategy: c d\nSteps: " + piece * (90_000 // len(piece))
    started = time.perf_counter()
    parse_candidate(text)
    parse_ranking(text, 5)
    assert time.perf_counter() - started < 5.0


RANKINGS: dict[str, str] = {
    "as asked": json.dumps([scores(1, 0.1), scores(2, 0.9)]),
    "fenced, after thinking": f"<think>[1]</think>Scores:\n```json\n{json.dumps([scores(1, 0.1), scores(2, 0.9)], indent=1)}\n```",
    "out of order": json.dumps([scores(2, 0.9), scores(1, 0.1)]),
    "counted from zero": json.dumps([scores(0, 0.1), scores(1, 0.9)]),
    "one object per line": f"{json.dumps(scores(1, 0.1))}\n{json.dumps(scores(2, 0.9))}",
    "below a key": json.dumps({"ranking": [scores(1, 0.1), scores(2, 0.9)]}),
    "scores nested": json.dumps([{"index": i, "scores": dict.fromkeys(CRITERIA, v)} for i, v in ((1, 0.1), (2, 0.9))]),
    "by candidate": json.dumps(
        {"candidate 2": dict.fromkeys(CRITERIA, 0.9), "candidate 1": dict.fromkeys(CRITERIA, 0.1), "best": 2}
    ),
    "no index": json.dumps([dict.fromkeys(CRITERIA, 0.1), dict.fromkeys(CRITERIA, 0.9)]),
    "scores as text": json.dumps([{"index": "1", **dict.fromkeys(CRITERIA, "0.1")}, scores(2, 0.9)]),
    "over one": json.dumps([{"index": 1, **dict.fromkeys(CRITERIA, "0.1/1.0")}, scores(2, 0.9)]),
    "other keys, other case": json.dumps(
        [
            {"Index": 1, "Problem Type": 0.1, "Strategy": 0.1, "Steps": 0.1, "No-Leak": 0.1, "why": "vague"},
            scores(2, 0.9),
        ]
    ),
}


@pytest.mark.parametrize("layout", RANKINGS)
def test_the_same_ranking_is_read_from_every_layout(layout: str) -> None:
    assert parse_ranking(RANKINGS[layout], 2) == [dict.fromkeys(CRITERIA, 0.1), dict.fromkeys(CRITERIA, 0.9)]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("empty", ""),
        ("truncated", "<think> candidate 1 is"),
        ("not_a_ranking", "Candidate 1 is best."),
        ("not_a_ranking", "[1, 2]"),
        ("incomplete_ranking", json.dumps([scores(1)])),
        ("incomplete_ranking", json.dumps([scores(1), scores(1)])),
        ("incomplete_ranking", json.dumps([scores(1), scores(3)])),
        ("incomplete_ranking", json.dumps([scores(1), {"index": 2, "strategy": 1.0}])),
        ("incomplete_ranking", json.dumps([scores(1), {**scores(2), "steps": True}])),
        ("incomplete_ranking", json.dumps([scores(1), {**scores(2), "steps": float("nan")}])),
        ("incomplete_ranking", json.dumps([scores(1), {**scores(2), "steps": None}])),
        ("score_out_of_range", json.dumps([scores(1), scores(2, 8)])),
        ("score_out_of_range", json.dumps([scores(1), scores(2, -0.1)])),
        ("score_out_of_range", json.dumps([scores(1), {**scores(2), "steps": "8"}])),
    ],
)
def test_an_unreadable_ranking_is_refused_with_its_reason(reason: str, text: str) -> None:
    refusal = parse_ranking(text, 2)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == reason
    assert refusal.detail
