"""Which problems got better and worse, with an answer of both models that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.evaluation import EvaluationError, Outcome
from sgpo.evaluation.answers import KeptAnswer, write_answers
from sgpo.evaluation.better_worse import better_worse, describe_better_worse, read_better_worse, write_better_worse
from sgpo.evaluation.measure import measured
from sgpo.evaluation.outcomes import write_outcomes
from sgpo.rollouts.schema import ProblemSamples, Rollout

BEFORE = [Outcome("a", "x", (0.0, 1.0)), Outcome("b", "x", (1.0, 1.0)), Outcome("c", "x", (1.0, 0.0))]
AFTER = [Outcome("a", "x", (1.0, 1.0)), Outcome("b", "x", (0.0, 0.0)), Outcome("c", "x", (0.0, 1.0))]


def answers(outcomes: list[Outcome], who: str) -> list[KeptAnswer]:
    return [
        KeptAnswer(
            one.problem_id, one.tier, f"question {one.problem_id}", "7", number, f"{who} {one.problem_id}{number}",
            "7" if reward else "8", "correct" if reward else "wrong", "stop", reward, reward, 3, number,
        )
        for one in outcomes
        for number, reward in enumerate(one.rewards)
    ]  # fmt: skip


def test_the_listing_has_both_answers_of_the_draw_that_shows_the_change(tmp_path: Path) -> None:
    for who, outcomes in (("champion", BEFORE), ("challenger", AFTER)):
        write_outcomes(outcomes, tmp_path / f"{who}.jsonl", {})
        write_answers(answers(outcomes, who), tmp_path / f"{who}.jsonl")
    output = tmp_path / "better_worse.jsonl"
    rows = write_better_worse(tmp_path / "champion.jsonl", tmp_path / "challenger.jsonl", output)
    assert read_better_worse(output) == rows
    assert [(row.change, row.problem_id, row.champion, row.challenger) for row in rows] == [
        ("better", "a", 0.5, 1.0), ("worse", "b", 1.0, 0.0),
    ]  # fmt: skip
    better = rows[0]
    assert (better.question, better.gold, better.k, better.number) == ("question a", "7", 2, 0)
    assert better.champion_answer is not None
    assert better.challenger_answer is not None
    assert (better.champion_answer.text, better.champion_answer.reason) == ("champion a0", "wrong")
    assert (better.challenger_answer.text, better.challenger_answer.extracted) == ("challenger a0", "7")
    assert describe_better_worse(rows) == "1 problem got better, 1 worse"


def test_outcomes_of_an_older_version_are_listed_without_answers_and_a_word_on_it(tmp_path: Path) -> None:
    write_outcomes(BEFORE, tmp_path / "champion.jsonl", {})
    write_outcomes(AFTER, tmp_path / "challenger.jsonl", {})
    write_answers(answers(AFTER, "challenger"), tmp_path / "challenger.jsonl")
    rows = write_better_worse(tmp_path / "champion.jsonl", tmp_path / "challenger.jsonl", tmp_path / "changes.jsonl")
    assert [(row.question, row.champion_answer) for row in rows] == [("question a", None), ("question b", None)]
    assert all(row.challenger_answer is not None and row.champion_lenient is None for row in rows)
    assert describe_better_worse(rows).endswith("2 without answers, which an older version did not keep")
    with pytest.raises(EvaluationError, match=r"none\.jsonl: no such file"):
        write_better_worse(tmp_path / "none.jsonl", tmp_path / "challenger.jsonl", tmp_path / "changes.jsonl")


rewards = st.tuples(*[st.sampled_from((0.0, 1.0))] * 4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(rewards, rewards), min_size=1, max_size=8))
def test_the_listing_is_what_plain_counting_finds(pairs) -> None:
    before = [Outcome(str(place), "x", pair[0]) for place, pair in enumerate(pairs)]
    after = [Outcome(str(place), "x", pair[1]) for place, pair in enumerate(pairs)]
    gained = {str(place): sum(pair[1]) - sum(pair[0]) for place, pair in enumerate(pairs)}
    rows = better_worse(before, after[::-1])
    assert {row.problem_id: row.change for row in rows} == {
        name: "better" if gain > 0 else "worse" for name, gain in gained.items() if gain
    }
    assert [(row.change == "worse", -abs(gained[row.problem_id])) for row in rows] == sorted(
        (row.change == "worse", -abs(gained[row.problem_id])) for row in rows
    )
    for row in rows:
        old, new = pairs[int(row.problem_id)][0][row.number], pairs[int(row.problem_id)][1][row.number]
        assert (new > old, new < old) == (row.change == "better", row.change == "worse")


def test_what_is_measured_keeps_both_rewards_and_where_lenient_was_not_judged_says_so() -> None:
    def rollout(lenient: float | None) -> Rollout:
        return Rollout(
            "p", "autonomous", (1, 2), (-1.0, -1.0), "It is 7.", "stop", 0.0, 5, 0, "7", "no_answer", lenient
        )

    judged = ProblemSamples("p", (1,), (), (rollout(1.0), rollout(0.0)), (), question="q", gold="7")
    found = measured(judged, "x")
    assert found.outcome == Outcome("p", "x", (0.0, 0.0), (1.0, 0.0))
    assert found.answers[0] == KeptAnswer("p", "x", "q", "7", 0, "It is 7.", "7", "no_answer", "stop", 0.0, 1.0, 2, 5)
    assert measured(ProblemSamples("p", (1,), (), (rollout(None),), ()), "x").outcome.lenient is None
