"""One vLLM server: its state, its weights, and one answer at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.schema import Response
from sgpo.rollouts.vllm.request import finish_reason, sampling_parameters

HEALTH_TIMEOUT_S = 10.0
GENERATE, RPC = "/inference/v1/generate", "/collective_rpc"
CHANGING = "changing"
"""The version a server bears while its weights are replaced: nothing sampled under it is taken."""
START_IT = "vLLM 0.32 in development mode with --enable-scale-out and sgpo's worker extension: docs/rollouts.md"


class ReplicaLostError(Exception):
    """A server that does not answer, or answers with what was not asked for; its requests go elsewhere.

    `expected` is what a run without any server that serves is told to do about it.
    """

    def __init__(self, message: str, expected: str = "at least one") -> None:
        super().__init__(message)
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Version:
    """Which weights are to be sampled from, and at what scale of the logits; vLLM stamps every answer with it.

    `label` names the weights, `folder` has them; None stands for those that the server was started with.
    """

    label: str
    folder: Path | None
    scale: float = 1.0
    step: int | None = None

    @property
    def name(self) -> str:
        """What the server is told to call it."""
        return f"{self.label}@{self.scale:.9g}"


class Replica:
    """A server at `url`, over a client that the caller opens and closes."""

    def __init__(self, client: httpx.AsyncClient, url: str, settings: EngineConfig) -> None:
        self.client, self.url, self.settings = client, url.rstrip("/"), settings

    async def serve(self, version: Version, may_load: bool) -> None:
        """Make the server sample from `version`. ReplicaLostError when it does not answer, or must not be told."""
        await self._ask("GET", "/health", timeout=HEALTH_TIMEOUT_S)
        info = await self._ask("GET", "/weight_info")
        with self._readable("/weight_info"):
            has = str(info["weight_version"])
        if has == version.name:
            return
        if not may_load:
            raise ReplicaLostError(f"{self.url} has weights '{has}', not '{version.name}'")
        if has.partition("@")[0] != version.label:
            await self._load(version, has)
        await self._call("scale_logits", version.scale)
        await self._ask("POST", "/update_weight_version", {"new_version": version.name})

    async def answer(
        self, prompt: Sequence[int], seed: int, sampling: SamplingConfig, end_ids: Sequence[int], version: Version
    ) -> Response:
        """One response, every token of it by `version`. Raises ReplicaLostError, EngineError."""
        body = {"token_ids": list(prompt), "sampling_params": sampling_parameters(sampling, seed, end_ids)}
        reply = await self._ask("POST", GENERATE, body)
        with self._readable(GENERATE):
            choice = reply["choices"][0]
            tokens = tuple(choice["token_ids"])
            served = {str(span["version"]) for span in choice["weight_versions"] or ()}
            scored = [entry["token_id"] for entry in choice["logprobs"]["content"]]
            logprobs = tuple(float(entry["logprob"]) for entry in choice["logprobs"]["content"])
            ended_by = choice["finish_reason"]
        if served != {version.name}:
            raise ReplicaLostError(f"{self.url} answered with weights {sorted(served)}, not '{version.name}'")
        if scored != list(tokens):
            raise EngineError(f"{self.url} gave log-probabilities of other tokens than it sampled")
        return Response(tokens, logprobs, finish_reason(ended_by, tokens, end_ids), version.step)

    async def prompt_ids(self, question: str, strategy: str | None, chat: dict[str, Any]) -> list[int]:
        """Return the prompt by the server's own tokenizer."""
        ids = await self._call("render_prompt", question, strategy, chat)
        with self._readable(RPC):
            return [int(token) for token in ids]

    async def _load(self, version: Version, has: str) -> None:
        if version.folder is None:
            raise EngineError(
                f"{self.url} has weights '{has}' of another run (expected a server as it was started, or load_weights)"
            )
        await self._ask("POST", "/update_weight_version", {"new_version": CHANGING})
        await self._call("reload_weights", weights_path=str(version.folder))
        reply = await self._ask("POST", "/reset_prefix_cache")
        with self._readable("/reset_prefix_cache"):
            emptied = reply["success"]
        if not emptied:
            raise EngineError(f"{self.url} did not reset its prefix cache (expected no request under way)")

    async def _call(self, method: str, *arguments: object, **named: object) -> Any:
        body = {"method": method, "args": arguments, "kwargs": named}
        reply = await self._ask("POST", RPC, body)
        with self._readable(RPC):
            return None if reply is None else reply["results"][0]

    @contextmanager
    def _readable(self, path: str) -> Iterator[None]:
        """Yield an answer of another form than vLLM's loses the server: something else may listen there by now."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"{type(error).__name__} {error}"
            raise ReplicaLostError(f"{self.url}{path}: not an answer of vLLM's ({what})") from None

    async def _ask(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """Return the answer's JSON. A failing connection and a failing server are asked again, then count as lost."""
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(self.settings.attempts), wait=wait_random_exponential(multiplier=0.2, max=5.0),
                retry=retry_if_exception(_may_pass), reraise=True,
            ):  # fmt: skip
                with attempt:
                    # A request may wait for a free connection as long as it takes.
                    limit = httpx.Timeout(timeout or self.settings.request_timeout_s, pool=None)
                    reply = await self.client.request(method, self.url + path, json=body, timeout=limit)
                    reply.raise_for_status()
                    with self._readable(path):
                        return reply.json() if reply.content else None
        except httpx.HTTPStatusError as error:
            said = f"{self.url}{path}: {_words(error.response)}"
            if error.response.status_code == 404:
                raise ReplicaLostError(said, START_IT) from None
            if _may_pass(error):
                raise ReplicaLostError(said) from None
            raise EngineError(f"{said} (expected a request that vLLM accepts)") from None
        except httpx.RequestError as error:
            raise ReplicaLostError(f"{self.url}{path}: {type(error).__name__} {error}".rstrip()) from None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.RequestError)


def _words(response: httpx.Response) -> str:
    return f"{response.status_code} {' '.join(response.text.split())[:300]}".rstrip()
