"""The worked domains: tiny functions are right by Python itself; their strong model has a strategy for each."""

from __future__ import annotations

import asyncio
import json

import pytest

from sgpo.config.strategies import StrategyConfig
from sgpo.strategies.extraction import check_candidate
from sgpo.strategies.parsing import ParsedStrategy
from sgpo.strategies.teacher.teacher import RequestRefusedError
from sgpo.strategies.teacher.templates import extract_request, respond_request
from sgpo.testbed.domain_teacher import DomainTeacher
from sgpo.testbed.functions import FAMILIES, draw_functions, family_of


def test_gold_programs_pass_their_tests_and_splits_share_no_task() -> None:
    splits = {split: draw_functions(split, 60) for split in ("train", "tuning", "held_out")}
    tasks = [{one.question.partition(" For example,")[0] for one in problems} for problems in splits.values()]
    assert not tasks[0] & tasks[1] | tasks[1] & tasks[2] | tasks[0] & tasks[2]
    for problem in splits["train"]:
        names: dict = {}
        exec(problem.answer, names)  # our own program
        for test in json.loads(problem.details)["tests"]:
            exec(test, names)
    assert {family_of(problem.question).name for problem in splits["train"]} == {family.name for family in FAMILIES}


def test_every_family_s_strategy_is_read_and_leaks_nothing() -> None:
    teacher, settings, good = DomainTeacher(), StrategyConfig(), set()
    for problem in draw_functions("train", 80):
        messages = extract_request(problem, problem.response, 160, "code")
        completion = asyncio.run(teacher.complete(messages, seed=3, temperature=None))
        candidate = check_candidate(completion, problem, settings, "code", problem.response)
        assert isinstance(candidate, ParsedStrategy), candidate
        good.add(candidate.problem_type)
    assert good >= {family.strategy[0] for family in FAMILIES}


def test_a_question_of_another_kind_is_refused() -> None:
    problem = draw_functions("train", 1)[0].model_copy(update={"question": "What is love?"})
    with pytest.raises(RequestRefusedError, match="neither aiw nor a tiny function: 'What is love"):
        asyncio.run(DomainTeacher().complete(respond_request(problem), seed=0, temperature=None))
