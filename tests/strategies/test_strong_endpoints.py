"""Endpoints with parameters, reasoning and refusals of their own: what is sent, what is paid, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from arithmetic_teacher import PROBLEMS, ArithmeticTeacher, verify
from test_openai_teacher import Endpoint, ask, body, choice, failing

from sgpo.config.strategies import StrategyConfig, TeacherConfig
from sgpo.problems.schema import Problem
from sgpo.problems.table import write_table
from sgpo.strategies.extraction import ExtractionError, ExtractionSummary, extract_all
from sgpo.strategies.refusals import RefusedText, read_refusals
from sgpo.strategies.responses import respond_all
from sgpo.strategies.schema import StrongResponse
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.openai_teacher import OpenAITeacher
from sgpo.strategies.teacher.teacher import Completion, Message, RequestRefusedError, TeacherError

pytestmark = pytest.mark.slow

MANY = [Problem(id=f"p{n}", question=PROBLEMS[0].question, answer=PROBLEMS[0].answer) for n in range(60)]
RESPONSES = [
    StrongResponse(
        problem_id=problem.id, text=f"\\boxed{{{problem.answer}}}", teacher="t", prompt_version="v1", attempt=1
    )
    for problem in MANY
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGPO_TEACHER_API_KEY", "k")


def refusing(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return web.Response(
        status=status, body=json.dumps({"error": error}).encode(), headers={"Content-Type": "application/json"}
    )


UNSUPPORTED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
HEATED = (
    "Unsupported value: 'temperature' does not support 0.6 with this model. Only the default (1) value is supported."
)


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (refusing(UNSUPPORTED, "max_tokens", "unsupported_parameter"), 
         "teacher.length_parameter to max_completion_tokens"),
        (refusing(UNSUPPORTED), "teacher.length_parameter to max_completion_tokens"),
        (refusing("max_completion_tokens: Extra inputs are not permitted", status=422),
         "teacher.length_parameter to max_tokens"),
        (refusing(HEATED, "temperature", "unsupported_value"), "strategies.temperature to null"),
        (refusing("`temperature` is deprecated for this model."), "strategies.temperature to null"),
        (refusing("Unrecognized request argument supplied: seed"), "teacher.send_seed to false"),
        (refusing("max_tokens is too large: 16384. This model supports at most 4096 completion tokens", "max_tokens"),
         "lower teacher.max_tokens"),
    ],
)  # fmt: skip
def test_a_refused_parameter_ends_the_run_with_the_setting_and_without_a_second_try(answer, setting) -> None:
    endpoint = Endpoint(answer)
    (error,) = ask(endpoint)
    assert type(error) is TeacherError
    assert setting in str(error)
    assert "\n" not in str(error)
    assert len(endpoint.times) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusing("maximum context length is 8192 tokens, not max_tokens=9000", None, "context_length_exceeded"),
        refusing("The response was filtered due to the content management policy", "prompt", "content_filter"),
        refusing("The word 'seeds' in this text is strange"),
    ],
)  # fmt: skip
def test_a_prompt_that_is_refused_is_no_matter_of_settings(answer) -> None:
    first, second = ask(Endpoint(answer, body()), seeds=2)
    assert type(first) is RequestRefusedError
    assert isinstance(second, Completion)


async def like_gpt5(request: web.Request) -> web.StreamResponse:
    """Refuses max_tokens, and any temperature but 1."""
    sent = await request.json()
    if "max_tokens" in sent:
        return refusing(UNSUPPORTED, "max_tokens", "unsupported_parameter")
    if sent.get("temperature", 1) != 1:
        return refusing(HEATED, "temperature", "unsupported_value")
    return web.json_response(body())


def test_length_parameter_temperature_and_seed_are_sent_as_set() -> None:
    endpoint = Endpoint(like_gpt5)

    async def one() -> Completion:
        async with endpoint.served() as address:
            config = TeacherConfig(
                kind="openai", base_url=address, model="m", length_parameter="max_completion_tokens", send_seed=False
            )
            async with OpenAITeacher(config) as teacher:
                return await teacher.complete([Message("user", "Answer.")], seed=1, temperature=None)

    assert asyncio.run(one()).text == "It is 4."
    assert endpoint.bodies[0].keys() == {"model", "messages", "max_completion_tokens"}


Make = Callable[[dict[str, Any]], dict[str, Any]]


class Counting(Endpoint):
    """Answers as `make` says, and knows how many requests were under way before the first answer."""

    def __init__(self, make: Make | web.Response) -> None:
        super().__init__()
        self.make, self.before_the_first, self.answered = make, 0, 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        if not self.answered:
            self.before_the_first += 1
            await asyncio.sleep(0.1)
        self.answered += 1
        if isinstance(self.make, web.Response):
            return web.Response(status=self.make.status, body=self.make.body, headers=self.make.headers)
        return web.json_response(self.make(self.bodies[-1]))


def extract(endpoint: Endpoint, folder: Path, **settings: Any) -> ExtractionSummary:
    async def work() -> ExtractionSummary:
        write_table(RESPONSES, folder / "responses.parquet", StrongResponse)
        async with endpoint.served() as address:
            config = TeacherConfig(kind="openai", base_url=address, model="m", attempts=2)
            async with (
                OpenAITeacher(config) as teacher,
                RecordedTeacher(teacher, folder / "j", config, first_alone=True) as recorded,
            ):
                return await extract_all(
                    MANY, recorded, StrategyConfig(**settings), responses=folder / "responses.parquet",
                    strategies=folder / "s.parquet", refusals=folder / "r.jsonl",
                )  # fmt: skip

    return asyncio.run(work())


def refusals(folder: Path) -> list[RefusedText]:
    return list(read_refusals(folder / "r.jsonl"))


def as_arithmetic(sent: dict[str, Any]) -> dict[str, Any]:
    teacher = ArithmeticTeacher()
    messages = [Message(message["role"], message["content"]) for message in sent["messages"]]
    coroutine = teacher.complete(messages, seed=sent["seed"], temperature=0.6)
    with pytest.raises(StopIteration) as done:  # it awaits nothing
        coroutine.send(None)
    return choice(done.value.value.finish_reason, content=done.value.value.text)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_first_request_that_is_refused_is_the_only_one(tmp_path: Path, status: int) -> None:
    endpoint = Counting(failing(status))
    with pytest.raises(TeacherError, match=f"m at http://.*{status}") as refused:
        extract(endpoint, tmp_path)
    assert "\n" not in str(refused.value)
    assert len(endpoint.bodies) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "responses.parquet"]


def test_no_second_request_is_sent_before_the_first_is_answered(tmp_path: Path) -> None:
    endpoint = Counting(as_arithmetic)
    assert extract(endpoint, tmp_path).kept > 10
    assert endpoint.before_the_first == 1


def test_a_request_that_is_refused_when_a_run_goes_on_does_not_end_it(tmp_path: Path) -> None:
    """It is no longer the first that this endpoint ever saw."""
    extract(Counting(as_arithmetic), tmp_path)
    journal = (tmp_path / "j").read_text().splitlines(keepends=True)
    (tmp_path / "j").write_text("".join(journal[1:]))
    endpoint = Counting(failing(400))
    assert extract(endpoint, tmp_path).refused["teacher_refused"] == 1
    assert len(endpoint.bodies) == 1


def test_twenty_refused_answers_at_the_start_end_the_run_with_three_examples(tmp_path: Path) -> None:
    endpoint = Counting(lambda sent: choice(content="I would   simply\nadd. " + "x" * 500))
    with pytest.raises(ExtractionError, match="the first 20 answers were all refused") as stopped:
        extract(endpoint, tmp_path)
    text = str(stopped.value)
    assert "strategies.refused_at_start=null would go on" in text
    assert text.count("not_a_strategy, none of the three parts: 'I would simply add. xxx") == 3
    assert all(f"{name}: not_a_strategy" in text for name in ("p0", "p2", "p3"))
    assert len(text) < 1200
    assert "\n" not in text
    assert len(endpoint.bodies) == 20  # not one more was paid
    assert not (tmp_path / "s.parquet").exists()
    assert len(refusals(tmp_path)) == 24
    with pytest.raises(ExtractionError, match="the first 20 answers were all refused"):
        extract(endpoint, tmp_path)
    assert len(endpoint.bodies) == 20
    with pytest.raises(ExtractionError, match="no strategy from any of 60 responses"):
        extract(endpoint, tmp_path, refused_at_start=None)
    assert len(endpoint.bodies) == 300


def test_responses_that_are_refused_from_the_start_end_the_run_too(tmp_path: Path) -> None:
    endpoint = Counting(lambda sent: choice(content="No idea."))

    async def work() -> None:
        async with endpoint.served() as address:
            config = TeacherConfig(kind="openai", base_url=address, model="m")
            async with OpenAITeacher(config) as teacher, RecordedTeacher(teacher, tmp_path / "j", config) as recorded:
                await respond_all(
                    MANY, recorded, verify, StrategyConfig(tries=5),
                    responses=tmp_path / "kept.parquet", refusals=tmp_path / "r.jsonl",
                )  # fmt: skip

    with pytest.raises(TeacherError, match=r"first 20 answers were all refused.*p0: wrong_answer, .*: 'No idea\.'"):
        asyncio.run(work())
    assert len(endpoint.bodies) == 20
    assert not (tmp_path / "kept.parquet").exists()


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        (choice("length", content="Problem type: Sum"), "truncated", "raise teacher.max_tokens"),
        (choice("length", content=None, reasoning_content="so"), "truncated", "raise teacher.max_tokens"),
        (choice("content_filter", content=""), "teacher_refused", "content filter stopped the answer"),
        (choice(content=None, refusal="I can't help with that."), "teacher_refused", "the model declined"),
        (choice(content=None, reasoning_content="so it is"), "empty", "message.content is empty"),
        (choice(content=" ", reasoning="so it is"), "empty", "message.content is empty"),
    ],
)
def test_a_paid_refusal_is_named_journalled_and_not_paid_again(tmp_path: Path, answer, reason, detail) -> None:
    endpoint = Counting(lambda sent: answer)
    with pytest.raises(ExtractionError):
        extract(endpoint, tmp_path)
    first = [refusal for refusal in refusals(tmp_path) if refusal.stage == "candidate"]
    assert {refusal.reason for refusal in first} == {reason}
    assert all(detail in refusal.detail for refusal in first)
    paid = len(endpoint.bodies)
    assert paid == 20
    assert len((tmp_path / "j").read_text().splitlines()) == paid
    with pytest.raises(ExtractionError):
        extract(endpoint, tmp_path)
    assert len(endpoint.bodies) == paid


def test_reasoning_in_the_content_or_beside_it_is_no_part_of_the_strategy(tmp_path: Path) -> None:
    good = "Problem type: Sum\nStrategy: Add by place value.\nSteps:\n1. Add the ones.\n2. Carry to the tens."

    def make(sent: dict[str, Any]) -> dict[str, Any]:
        if sent["messages"][-1]["content"].startswith("Rank"):
            return as_arithmetic(sent)
        if sent["seed"] % 2:
            return choice(content=f"<think>\nProblem type: no\n</think>\n{good}")
        return choice(content=good, reasoning_content="Problem type: no")

    assert extract(Counting(make), tmp_path).kept > 10
    assert {refusal.reason for refusal in refusals(tmp_path) if refusal.stage == "candidate"} == {"near_duplicate"}
