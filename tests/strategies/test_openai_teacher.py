"""The real client against a real server on loopback that answers as the test says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web
from tenacity import wait_none

from sgpo.config.strategies import TeacherConfig
from sgpo.strategies.teacher import openai_teacher
from sgpo.strategies.teacher.openai_teacher import REFUSED_IN_A_ROW, OpenAITeacher
from sgpo.strategies.teacher.teacher import Completion, Message, RequestFailedError, RequestRefusedError, TeacherError

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-123"
MESSAGES = [Message("system", "Be brief."), Message("user", "Answer the problem.")]
Answer = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


def body(**changes: object) -> dict[str, object]:
    """A chat completion as endpoints give it."""
    message = {"role": "assistant", "content": "It is 4."}
    answer = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }  # fmt: skip
    return {**answer, **changes}


def choice(finish: str = "stop", **message: object) -> dict[str, object]:
    return body(choices=[{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}])


class Endpoint:
    """Gives its answers one after the other, the last one for ever; keeps what was asked and when."""

    def __init__(self, *answers: object) -> None:
        self.answers = answers
        self.bodies: list[dict[str, object]] = []
        self.headers: list[Mapping[str, str]] = []
        self.times: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.time())
        self.bodies.append(await request.json())
        self.headers.append(request.headers.copy())
        answer = self.answers[min(len(self.times), len(self.answers)) - 1]
        if isinstance(answer, web.Response):  # one object answers one request
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if callable(answer):
            return await answer(request)
        return web.json_response(answer)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


@pytest.fixture(autouse=True)
def no_pauses_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_teacher, "_BACK_OFF", wait_none())
    monkeypatch.setenv("SGPO_TEACHER_API_KEY", KEY)


def ask(endpoint: Endpoint, seeds: int = 1, **settings: object) -> list[Completion | BaseException]:
    """What `seeds` requests, one after the other, end with."""

    async def work() -> list[Completion | BaseException]:
        async with endpoint.served() as address:
            values = {"kind": "openai", "base_url": address, "model": "m", "attempts": 4, "request_timeout_s": 5.0}
            config = TeacherConfig.model_validate({**values, **settings})
            results: list[Completion | BaseException] = []
            async with OpenAITeacher(config) as teacher:
                for seed in range(seeds):
                    asked = teacher.complete(MESSAGES, seed=seed, temperature=0.6)
                    results += await asyncio.gather(asked, return_exceptions=True)
            return results

    return asyncio.run(work())


async def dropped(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def truncated(request: web.Request) -> web.StreamResponse:
    """Half of what Content-Length promises."""
    whole = json.dumps(body()).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole))})
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response


async def trickling(request: web.Request) -> web.StreamResponse:
    """A byte now and then: no single read takes long."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


def failing(status: int, code: str | None = None, **headers: str) -> web.Response:
    error = {"error": {"message": f"no, {KEY}", "type": "t", "code": code}}
    return web.Response(
        status=status, body=json.dumps(error).encode(), headers={"Content-Type": "application/json", **headers}
    )


def text(content: str) -> web.Response:
    return web.Response(body=content.encode(), headers={"Content-Type": "application/json"})


def test_what_is_sent_and_what_comes_back() -> None:
    endpoint = Endpoint(body())
    assert ask(endpoint) == [Completion("It is 4.", 7, 5)]
    assert endpoint.bodies[0] == {
        "model": "m", "temperature": 0.6, "max_tokens": 16_384, "seed": 0,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Answer the problem."}],
    }  # fmt: skip
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_an_endpoint_that_knows_no_seed_gets_none() -> None:
    endpoint = Endpoint(body())
    ask(endpoint, send_seed=False)
    assert "seed" not in endpoint.bodies[0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (choice(content="It is 4.", reasoning_content="2 + 2"), "<think>\n2 + 2\n</think>\nIt is 4."),
        (choice(content="It is 4.", reasoning="2 + 2"), "<think>\n2 + 2\n</think>\nIt is 4."),
        (choice(content=None, reasoning_content="2 +", finish="length"), "<think>\n2 +\n</think>\n"),
        (choice(content=None), ""),
    ],
)
def test_reasoning_stands_before_the_answer(answer, expected) -> None:
    (completion,) = ask(Endpoint(answer))
    assert isinstance(completion, Completion)
    assert completion.text == expected
    assert completion.finish_reason == answer["choices"][0]["finish_reason"]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}])
def test_an_endpoint_that_counts_nothing_is_counted_for(usage) -> None:
    (completion,) = ask(Endpoint(body(usage=usage)))
    assert isinstance(completion, Completion)
    assert 8 <= completion.prompt_tokens <= 12
    assert completion.completion_tokens == 3


@pytest.mark.parametrize(
    "passing",
    [
        *(failing(status) for status in (408, 409, 425, 429, 500, 502, 503, 529)),
        dropped, truncated, text("<html>busy</html>"), text('{"choices": [{"mess'), text("null"), text('"fine"'),
        text("[]"), body(choices=[]), body(choices=None), body(choices=[{"index": 0, "finish_reason": None}]),
        choice(content=["a list"]),
    ],
)  # fmt: skip
def test_what_fails_in_passing_is_asked_again_as_the_same_request(passing) -> None:
    endpoint = Endpoint(passing, passing, body())
    assert ask(endpoint) == [Completion("It is 4.", 7, 5)]
    keys = [headers["Idempotency-Key"] for headers in endpoint.headers]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_other_requests_have_other_keys() -> None:
    endpoint = Endpoint(body())
    ask(endpoint, seeds=3)
    assert len({headers["Idempotency-Key"] for headers in endpoint.headers}) == 3


@pytest.mark.parametrize("passing", [failing(500), dropped, text("null"), body(choices=[])])
def test_what_never_passes_fails_this_request_after_its_attempts(passing) -> None:
    endpoint = Endpoint(passing)
    (error,) = ask(endpoint)
    assert type(error) is RequestFailedError
    assert len(endpoint.times) == 4
    assert "m at http://127.0.0.1" in str(error)
    assert "\n" not in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize("when", ["1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_the_pause_that_the_endpoint_asks_for_is_kept(when) -> None:
    asked = when if isinstance(when, str) else when()
    endpoint = Endpoint(failing(429, **{"Retry-After": asked}), body())
    assert ask(endpoint) == [Completion("It is 4.", 7, 5)]
    assert endpoint.times[1] - endpoint.times[0] >= 0.95


@pytest.mark.parametrize("header", ["soon", "-5", "Wed, 99 Nov 2026", "nan"])
def test_a_retry_after_that_says_nothing_is_none(header) -> None:
    assert ask(Endpoint(failing(503, **{"Retry-After": header}), body())) == [Completion("It is 4.", 7, 5)]


def test_an_answer_that_trickles_is_given_up_in_time() -> None:
    endpoint = Endpoint(trickling, body())
    assert ask(endpoint, request_timeout_s=0.3) == [Completion("It is 4.", 7, 5)]


def test_all_attempts_together_have_a_limit() -> None:
    endpoint = Endpoint(failing(503, **{"Retry-After": "0.2"}))
    (error,) = ask(endpoint, attempts=100, total_timeout_s=0.5)
    assert type(error) is RequestFailedError
    assert "not answered in time (5 s an attempt, 0.5 s in all)" in str(error)
    assert len(endpoint.times) <= 4


@pytest.mark.parametrize(
    "hopeless", [failing(401), failing(402), failing(403), failing(404), failing(429, "insufficient_quota")]
)
def test_what_holds_for_every_request_ends_the_run(hopeless) -> None:
    endpoint = Endpoint(hopeless)
    (error,) = ask(endpoint)
    assert type(error) is TeacherError
    assert len(endpoint.times) == 1
    assert KEY not in str(error)


@pytest.mark.parametrize("refusal", [failing(400), failing(413), failing(422)])
def test_what_is_refused_is_this_request_alone(refusal) -> None:
    first, second = ask(Endpoint(refusal, body()), seeds=2)
    assert type(first) is RequestRefusedError
    assert second == Completion("It is 4.", 7, 5)


def test_refusals_with_nothing_between_them_are_about_the_settings() -> None:
    errors = ask(Endpoint(failing(400)), seeds=REFUSED_IN_A_ROW)
    assert {type(error) for error in errors[:-1]} == {RequestRefusedError}
    assert type(errors[-1]) is TeacherError
    assert f"({REFUSED_IN_A_ROW} requests in a row were refused)" in str(errors[-1])


def test_a_key_that_is_not_there_is_named_by_its_variable(monkeypatch) -> None:
    monkeypatch.delenv("SGPO_TEACHER_API_KEY")
    with pytest.raises(TeacherError, match="SGPO_TEACHER_API_KEY is not set"):
        ask(Endpoint(body()))
    assert ask(Endpoint(body()), api_key_env="") == [Completion("It is 4.", 7, 5)]
