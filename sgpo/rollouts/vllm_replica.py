"""One vLLM server: its state, its weights, and one answer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.schema import Response
from sgpo.rollouts.vllm_request import finish_reason, sampling_parameters

HEALTH_TIMEOUT_S = 10.0
CHANGING = "changing"
"""The version a server bears while its weights are replaced: nothing sampled under it is taken."""
START_IT = "vLLM 0.32 in development mode with --enable-scale-out and sgpo's worker extension: docs/rollouts.md"


class ReplicaLostError(Exception):
    """A server that does not answer, or answers with other weights than asked for; its requests go elsewhere."""


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
        has = (await self._ask("GET", "/weight_info"))["weight_version"]
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
        choice = (await self._ask("POST", "/inference/v1/generate", body))["choices"][0]
        tokens = tuple(choice["token_ids"])
        served = {span["version"] for span in choice["weight_versions"] or ()}
        if served != {version.name}:
            raise ReplicaLostError(f"{self.url} answered with weights {sorted(served)}, not '{version.name}'")
        content = choice["logprobs"]["content"]
        if [entry["token_id"] for entry in content] != list(tokens):
            raise EngineError(f"{self.url} gave log-probabilities of other tokens than it sampled")
        reason = finish_reason(choice["finish_reason"], tokens, end_ids)
        return Response(tokens, tuple(entry["logprob"] for entry in content), reason, version.step)

    async def prompt_ids(self, question: str, strategy: str | None) -> list[int]:
        """The prompt by the server's own tokenizer."""
        return await self._call("render_prompt", question, strategy)

    async def _load(self, version: Version, has: str) -> None:
        if version.folder is None:
            raise EngineError(
                f"{self.url} has weights '{has}' of another run (expected a server as it was started, or load_weights)"
            )
        await self._ask("POST", "/update_weight_version", {"new_version": CHANGING})
        await self._call("reload_weights", weights_path=str(version.folder))
        if not (await self._ask("POST", "/reset_prefix_cache"))["success"]:
            raise EngineError(f"{self.url} did not reset its prefix cache (expected no request under way)")

    async def _call(self, method: str, *arguments: object, **named: object) -> Any:
        body = {"method": method, "args": arguments, "kwargs": named}
        return (await self._ask("POST", "/collective_rpc", body) or {"results": [None]})["results"][0]

    async def _ask(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """The answer's JSON. A failing connection and a failing server are asked again, then count as lost."""
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
                    return reply.json() if reply.content else None
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                raise ReplicaLostError(f"{self.url}{path}: {_words(error.response)}") from None
            wanted = START_IT if error.response.status_code == 404 else "a request that vLLM accepts"
            raise EngineError(f"{self.url}{path}: {_words(error.response)} (expected {wanted})") from None
        except httpx.TransportError as error:
            raise ReplicaLostError(f"{self.url}{path}: {type(error).__name__} {error}".rstrip()) from None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)


def _words(response: httpx.Response) -> str:
    return f"{response.status_code} {' '.join(response.text.split())[:300]}"
