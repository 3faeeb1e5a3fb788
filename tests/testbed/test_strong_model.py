"""The scripted strong model through the real extraction pipeline."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass

import pytest

from sgpo.config.pipeline import PipelineParams
from sgpo.config.strategies import StrategyConfig
from sgpo.config.testbed import WorldConfig
from sgpo.pipeline.teacher import recorded_teacher
from sgpo.problems import Problem, Verifier
from sgpo.problems.table import read_table
from sgpo.strategies.extraction import extract_all
from sgpo.strategies.parsing import ParsedStrategy
from sgpo.strategies.refusals import RefusedText, read_refusals
from sgpo.strategies.responses import respond_all
from sgpo.strategies.schema import Strategy, StrongResponse
from sgpo.strategies.teacher.teacher import Message, TeacherError
from sgpo.strategies.teacher.templates import rank_request
from sgpo.testbed.ledger import Ledger
from sgpo.testbed.plans import Plan
from sgpo.testbed.stories import STORIES, ask, read
from sgpo.testbed.strong_model import ScriptedStrongModel
from sgpo.testbed.world import build_split


@dataclass(frozen=True)
class Extracted:
    """What came of the testbed's problems."""

    problems: dict[str, Problem]
    responses: list[StrongResponse]
    strategies: list[Strategy]
    refusals: list[RefusedText]


@pytest.fixture(scope="module", params=[3, 6], ids="{} decisions".format)
def extracted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    problems = build_split(WorldConfig(train=60, decisions=request.param), "train")
    folder, settings = tmp_path_factory.mktemp("extracted"), StrategyConfig()

    async def ask() -> None:
        with Verifier() as verifier:
            async with recorded_teacher(PipelineParams(), problems, folder) as teacher:
                await respond_all(
                    problems, teacher, verifier.score, settings, responses=folder / "responses.parquet",
                    refusals=folder / "responses_refused.jsonl",
                )  # fmt: skip
                await extract_all(
                    problems, teacher, settings, responses=folder / "responses.parquet",
                    strategies=folder / "strategies.parquet", refusals=folder / "strategies_refused.jsonl",
                )  # fmt: skip

    asyncio.run(ask())
    return Extracted(
        {problem.id: problem for problem in problems},
        read_table(folder / "responses.parquet", StrongResponse),
        read_table(folder / "strategies.parquet", Strategy),
        [*read_refusals(folder / "responses_refused.jsonl"), *read_refusals(folder / "strategies_refused.jsonl")],
    )


def test_wrong_responses_are_refused_and_asked_again(extracted: Extracted) -> None:
    assert len(extracted.responses) == len(extracted.problems)
    assert {refusal.reason for refusal in extracted.refusals if refusal.stage == "response"} == {"wrong_answer"}
    assert any(response.attempt > 1 for response in extracted.responses)


def test_the_best_candidate_names_the_right_plan_nearly_always(extracted: Extracted) -> None:
    assert len(extracted.strategies) >= 0.95 * len(extracted.problems)
    right = sum(
        strategy.approach.startswith(f"{read(extracted.problems[strategy.problem_id].question)[1].name},")
        for strategy in extracted.strategies
    )
    assert right >= 0.9 * len(extracted.strategies)


def test_leaking_and_misshapen_candidates_are_refused_with_a_reason(extracted: Extracted) -> None:
    assert {"states_answer", "not_a_strategy"} <= {refusal.reason for refusal in extracted.refusals}


def leak_scores(problem: Problem) -> tuple[float, float]:
    """The criterion no_leak of a clean candidate, and of one that states the answer."""
    steps = ("Begin with the given count.", "Add each entry.", "Give the count.", "Look at it once more.")
    clean = ParsedStrategy("Count with a given first value", "Carry the count ahead.", steps)
    leaking = ParsedStrategy(clean.problem_type, clean.approach, (*steps[:-1], f"It makes {problem.answer}."))
    request = rank_request(problem, "A response.", [clean, leaking])
    first, second = json.loads(ScriptedStrongModel().complete(request, seed=1, temperature=0.0).text)
    return first["no_leak"], second["no_leak"]


@pytest.mark.parametrize("answer", ["1", "2", "3", "4", "14"])
def test_the_number_of_a_step_is_no_leaked_answer(answer: str) -> None:
    ledger, plan = Ledger(140, int(answer) + 8, (5, 3)), Plan(("reverse", "steady", "count"))
    problem = Problem(question=ask(ledger, plan, STORIES[0], random.Random(0)), answer=answer)
    clean, leaking = leak_scores(problem)
    assert clean >= 0.8
    assert leaking <= 0.2


def test_it_is_a_function_of_messages_and_seed() -> None:
    teacher, problem = ScriptedStrongModel(), build_split(WorldConfig(train=1), "train")[0]
    messages = [Message("user", f"Answer the problem below.\n\n<problem>\n{problem.question}\n</problem>")]
    texts = [teacher.complete(messages, seed=seed, temperature=1.0).text for seed in (1, 1)]
    assert texts[0] == texts[1]
    assert texts[0] != teacher.complete(messages, seed=2, temperature=1.0).text


@pytest.mark.parametrize("text", ["Answer it.", "Answer\n<problem>\nWhat is 2 + 2?\n</problem>"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TeacherError):
        ScriptedStrongModel().complete([Message("user", text)], seed=0, temperature=0.0)
