"""The scripted strong model over HTTP says what it says in the process."""

from __future__ import annotations

import asyncio

import pytest

from sgpo.config.strategies import TeacherConfig
from sgpo.config.testbed import WorldConfig
from sgpo.strategies.teacher.openai_teacher import OpenAITeacher
from sgpo.strategies.teacher.teacher import Completion, Message, RequestRefusedError, TeacherError
from sgpo.strategies.teacher.templates import respond_request
from sgpo.testbed.strong_model import ScriptedStrongModel
from sgpo.testbed.teacher_server import scripted_endpoint
from sgpo.testbed.world import build_split


def ask(messages: list[Message], model: str = "scripted-strong-model") -> Completion:
    async def one() -> Completion:
        async with scripted_endpoint() as address:
            config = TeacherConfig(kind="openai", base_url=address, model=model, api_key_env="", attempts=1)
            async with OpenAITeacher(config) as teacher:
                return await teacher.complete(messages, seed=3, temperature=0.6)

    return asyncio.run(one())


@pytest.mark.parametrize("decisions", [3, 6])
def test_the_same_answer_as_without_the_network(decisions: int) -> None:
    problem = build_split(WorldConfig(train=3, decisions=decisions), "train")[0]
    messages = respond_request(problem)
    expected = ScriptedStrongModel().complete(messages, seed=3, temperature=0.6)
    assert ask(messages) == expected


def test_what_it_cannot_read_is_refused_with_its_reason() -> None:
    with pytest.raises(RequestRefusedError) as error:
        ask([Message("user", "What is the capital of France?")])
    assert isinstance(error.value, TeacherError)
    assert "400" in str(error.value)
