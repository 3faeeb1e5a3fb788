"""The strong model behind any endpoint that speaks OpenAI's chat protocol (a provider, vLLM, a gateway)."""

import asyncio
import os
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from sgpo.config.strategies import TeacherConfig
from sgpo.strategies.teacher.refused_parameters import is_about_the_prompt, setting_to_change
from sgpo.strategies.teacher.teacher import (
    Completion,
    Message,
    RequestFailedError,
    RequestRefusedError,
    TeacherError,
    request_key,
)

HOPELESS = (401, 402, 403, 404)
"""Status codes that hold for every request: no or a wrong key, no money, no such model or address."""
REFUSED_IN_A_ROW = 20
"""So many refusals with no answer between them are about the settings, not about the requests."""

_IN_PASSING = (408, 409, 425, 429)
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
_BACK_OFF = wait_random_exponential(multiplier=0.5, max=60)


class MalformedAnswerError(Exception):
    """The endpoint's answer is not a chat completion; asking again may help."""


class OpenAITeacher:
    """One model at an endpoint; an asynchronous context manager, because it owns connections.

    A request that fails in passing (429, 5xx, time-out, dropped connection, an answer that is none) is tried again with
    growing random pauses, and not before the endpoint's Retry-After. Every attempt carries the request's key as
    Idempotency-Key, so that a gateway that knows the header bills a repeated request once.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self._refused = 0
        self._key = endpoint_key(config)
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url, api_key=self._key or "none", max_retries=0, timeout=config.request_timeout_s
        )
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(config.attempts), wait=_pause, retry=retry_if_exception(_passes), reraise=True
        )

    @property
    def name(self) -> str:
        return self._config.model

    @property
    def max_tokens(self) -> int:
        return self._config.max_tokens

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Return the endpoint's answer; RequestRefusedError, RequestFailedError, or TeacherError if none can succeed.

        A refusal within an answer is an answer: it is paid for, and so has to be recorded (Completion.finish_reason).

        Reasoning that the endpoint gives apart stands before the answer, between <think> and </think>.
        """
        try:
            async with asyncio.timeout(self._config.total_timeout_s):
                completion = await self._retrying(self._attempt, messages, seed, temperature)
        except openai.APIStatusError as error:
            raise self._named(error) from None
        except (openai.APIError, MalformedAnswerError) as error:
            raise RequestFailedError(
                f"{self._where()}: {self._config.attempts} attempts: {self._line(error)}"
            ) from None
        except TimeoutError:
            limits = f"{self._config.request_timeout_s:g} s an attempt, {self._config.total_timeout_s:g} s in all"
            raise RequestFailedError(f"{self._where()}: not answered in time ({limits})") from None
        self._refused = 0
        return completion

    async def _attempt(self, messages: Sequence[Message], seed: int, temperature: float | None) -> Completion:
        key = request_key(self.name, messages, seed, temperature)
        most, length = self._config.max_tokens, self._config.length_parameter
        async with asyncio.timeout(self._config.request_timeout_s):  # the client's own limit is for one read
            try:
                answer = await self._client.chat.completions.create(
                    model=self._config.model,
                    messages=[{"role": message.role, "content": message.content} for message in messages],  # pyright: ignore[reportArgumentType]
                    temperature=openai.omit if temperature is None else temperature,
                    max_tokens=most if length == "max_tokens" else openai.omit,
                    max_completion_tokens=most if length == "max_completion_tokens" else openai.omit,
                    seed=seed if self._config.send_seed else openai.omit,
                    extra_headers={"Idempotency-Key": key},
                )
            except ValueError as error:  # what the client lets through when the body is not JSON
                raise MalformedAnswerError(f"not JSON: {error}") from None
        return _completion(answer, messages)

    def _named(self, error: openai.APIStatusError) -> TeacherError:
        """Return what a status code means for this request and the others."""
        message = f"{self._where()}: {self._line(error)}"
        if error.status_code in HOPELESS or error.code in _QUOTA:
            return TeacherError(message)
        if _passes(error):
            return RequestFailedError(message)
        if (setting := setting_to_change(error)) is not None:
            return TeacherError(f"{message} ({setting})")
        self._refused += 1
        if self._refused >= REFUSED_IN_A_ROW:
            return TeacherError(f"{message} ({self._refused} requests in a row were refused)")
        return RequestRefusedError(message, about_settings=not is_about_the_prompt(error))

    def _where(self) -> str:
        return f"{self._config.model} at {self._config.base_url}"

    def _line(self, error: Exception) -> str:
        """One line without the key, which some endpoints repeat."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return (text.replace(self._key, "***") if self._key else text)[:300]


def endpoint_key(config: TeacherConfig) -> str:
    """Return the key from the environment; empty for an endpoint without one. TeacherError where it is not set."""
    if not config.api_key_env:
        return ""
    if not (key := os.environ.get(config.api_key_env, "")):
        raise TeacherError(
            f"the environment variable {config.api_key_env} is not set (expected the key for {config.base_url}; "
            "set teacher.api_key_env to '' for an endpoint without one)"
        )
    return key


def _completion(answer: Any, messages: Sequence[Message]) -> Completion:
    """Return the client builds its records without checking them: everything that is used is checked here."""
    if not isinstance(answer, ChatCompletion) or not isinstance(answer.choices, list) or not answer.choices:
        raise MalformedAnswerError("no chat completion with choices")
    choice = answer.choices[0]
    message = getattr(choice, "message", None)
    content = getattr(message, "content", None) or ""
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    finish = getattr(choice, "finish_reason", None)
    if not isinstance(content, str) or not isinstance(finish, str):
        raise MalformedAnswerError("a choice without text or finish_reason")
    declined = getattr(message, "refusal", None)
    text = f"<think>\n{reasoning}\n</think>\n{content}" if isinstance(reasoning, str) else content
    prompt_tokens, completion_tokens = _usage(answer, messages, text)
    if finish in ("length", "content_filter"):
        return Completion(text, prompt_tokens, completion_tokens, finish)
    if isinstance(declined, str) and declined and not content.strip():
        return Completion(declined, prompt_tokens, completion_tokens, "refusal")
    nothing = isinstance(reasoning, str) and not content.strip()
    return Completion(text, prompt_tokens, completion_tokens, "no_answer" if nothing else "stop")


def _usage(answer: ChatCompletion, messages: Sequence[Message], text: str) -> tuple[int, int]:
    """Return the endpoint's count; without one a token for every three bytes, rather more than it is."""
    usage = getattr(answer, "usage", None)
    counts = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if isinstance(counts[0], int) and isinstance(counts[1], int):
        return counts[0], counts[1]
    return sum(len(message.content.encode()) for message in messages) // 3 + 1, len(text.encode()) // 3 + 1


def _passes(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, openai.APIStatusError):
        return error.code not in _QUOTA and (error.status_code in _IN_PASSING or error.status_code >= 500)
    return isinstance(error, openai.APIError | MalformedAnswerError | TimeoutError)


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: at least what the endpoint asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked = _retry_after(error) if isinstance(error, openai.APIStatusError) else 0.0
    return asked + _BACK_OFF(state)


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds that the Retry-After header asks for, given as a number or as a date; 0 without one."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
