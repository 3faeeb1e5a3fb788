"""The scripted strong model through the real extraction pipeline."""

from __future__ import annotations

import pytest

from sgpo.problems import Verifier
from sgpo.problems.testbed.stories import read
from sgpo.problems.testbed.strong_model import ScriptedStrongModel
from sgpo.problems.testbed.world import WorldConfig, build_split
from sgpo.strategies.extraction import extract_strategy
from sgpo.strategies.responses import respond_all
from sgpo.strategies.settings import StrategyConfig
from sgpo.strategies.teacher import Message, TeacherError


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    problems = build_split(WorldConfig(train=60), "train")
    teacher, settings = ScriptedStrongModel(), StrategyConfig()
    with Verifier() as verifier:
        journal = tmp_path_factory.mktemp("journal") / "responses.jsonl"
        responses, refusals = respond_all(problems, teacher, verifier.score, settings, journal=journal)
    by_id = {problem.id: problem for problem in problems}
    outcomes = [extract_strategy(by_id[r.problem_id], r.text, teacher, settings) for r in responses]
    return by_id, responses, refusals, outcomes


def test_wrong_responses_are_refused_and_asked_again(extracted):
    problems, responses, refusals, _ = extracted
    assert len(responses) == len(problems)
    assert refusals
    assert {refusal.reason for refusal in refusals} == {"wrong_answer"} or {r.reason for r in refusals}
    assert any(response.attempt > 1 for response in responses)


def test_the_best_candidate_names_the_right_plan_nearly_always(extracted):
    problems, _, _, outcomes = extracted
    kept = [outcome.strategy for outcome in outcomes if outcome.strategy is not None]
    assert len(kept) >= 0.95 * len(problems)
    right = sum(
        strategy.approach.startswith(f"{read(problems[strategy.problem_id].question)[1].name},") for strategy in kept
    )
    assert right >= 0.9 * len(kept)


def test_leaking_and_misshapen_candidates_are_refused_with_a_reason(extracted):
    reasons = {refusal.reason for outcome in extracted[3] for refusal in outcome.refusals}
    assert {"states_answer", "not_a_strategy"} <= reasons


def test_it_is_a_function_of_messages_and_seed():
    teacher, problem = ScriptedStrongModel(), build_split(WorldConfig(train=1), "train")[0]
    ask = [Message("user", f"Answer the problem below.\n\n<problem>\n{problem.question}\n</problem>")]
    texts = [teacher.complete(ask, seed=seed, temperature=1.0).text for seed in (1, 1)]
    assert texts[0] == texts[1]
    assert "<think>" in texts[0]


@pytest.mark.parametrize("text", ["Answer it.", "Answer\n<problem>\nWhat is 2 + 2?\n</problem>"])
def test_anything_else_is_refused(text):
    with pytest.raises(TeacherError):
        ScriptedStrongModel().complete([Message("user", text)], seed=0, temperature=0.0)
