"""vLLM servers as one engine: every request goes to a server that has the right weights, and is answered once."""

import asyncio
import json
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import torch
from safetensors.torch import save_file
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.files import publish_folder
from sgpo.rollouts.chat import ChatFormat, settings_of
from sgpo.rollouts.engine import EngineError, check_request, end_token_ids
from sgpo.rollouts.schema import Response
from sgpo.rollouts.vllm.replica import START_IT, Replica, ReplicaLostError, Version
from sgpo.rollouts.vllm.request import logit_scale
from sgpo.rollouts.vllm.weights import WeightNames

STARTED_WITH = Version("default", None)
"""vLLM's own word for the weights that a server was started with."""
SHARD_BYTES = 2**30
LOSSES = 2
"""How often a server may be lost in one call before it gets no more requests in it."""

Losses = defaultdict[str, list[ReplicaLostError]]
"""How each server was lost in one call, by its address."""
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Request:
    index: int
    prompt: tuple[int, ...]
    seed: int


class VllmServerEngine:
    """A RolloutEngine on one or several vLLM servers; weights reach them as a folder that they can read.

    Several training processes may share the servers: the first one (`is_main`) loads weights, the others call
    `follow_weights` after it. A server has one temperature for all of them, so that they sample at the same ones in the
    same order, and `barrier` waits for all of them.
    """

    def __init__(
        self,
        urls: Sequence[str],
        config: PreTrainedConfig,
        chat_or_end_ids: ChatFormat | PreTrainedTokenizerBase | Sequence[int] | int,
        folder: Path,
        settings: EngineConfig | None = None,
        is_main: bool = True,
    ) -> None:
        """`folder` is where weights are published: on a file system that the servers share."""
        self.urls, self.settings = tuple(url.rstrip("/") for url in urls), settings or EngineConfig()
        self.folder, self.is_main = folder, is_main
        self.end_ids, self._chat = end_token_ids(chat_or_end_ids), settings_of(chat_or_end_ids)
        self.positions = self.settings.positions(config.max_position_embeddings)
        self.vocabulary = config.vocab_size
        self._names = WeightNames(config)
        self._version = STARTED_WITH
        self.barrier: Callable[[], None] = _alone

    @property
    def policy_step(self) -> int | None:
        """The optimiser step whose weights are sampled from; None for those that the servers were started with."""
        return self._version.step

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given.

        A server that is lost on the way costs its unanswered requests a second time, elsewhere. Collective when the
        temperature is another than before, also without prompts. Raises what `check_request` raises, and EngineError
        when no server is left.
        """
        check_request(prompts, seeds, sampling.max_new_tokens, self.positions, self.vocabulary)
        self._rescale(logit_scale(sampling))
        requests = [
            _Request(index, tuple(prompt), seed)
            for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
        ]
        answers = _run(self._answers(requests, sampling, self._version))
        return [answers[index] for index in range(len(prompts))]

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_step: int | None = None) -> None:
        """Publish the weights and make every server load them; a server that does not answer loads them later.

        Raises ValueError for a weight that is unknown, missing or of another shape, EngineError when no server answers.
        """
        label = f"{uuid.uuid4().hex[:12]}:{policy_step}"
        older = self._version.folder
        folder = self.folder / label.replace(":", "-")
        with publish_folder(folder) as aside:
            _write_shards(self._names.checked(named_tensors), aside)
        # At the scale that is sampled at: a process that follows may ask before this one does.
        self._version = Version(label, folder, self._version.scale, policy_step)
        _run(self._ready_alone())
        if older is not None:
            shutil.rmtree(older, ignore_errors=True)
        self._note().write_text(json.dumps({"label": label, "step": policy_step}), encoding="utf-8")

    def follow_weights(self) -> None:
        """Sample from what the main process has loaded last."""
        note = json.loads(self._note().read_text(encoding="utf-8"))
        folder = self.folder / note["label"].replace(":", "-")
        self._version = Version(note["label"], folder, self._version.scale, note["step"])

    def release_device(self) -> None:
        """Servers have devices of their own."""

    def prompt_ids(self, question: str, strategy: str | None) -> list[int] | None:
        """Return the prompt as the tokenizers of the servers that answer write it; they must agree."""

        async def ask() -> list[list[int] | BaseException]:
            async with self._client() as client:
                ready = await self._ready(client, self._version, defaultdict(list))
                asked = (replica.prompt_ids(question, strategy, self._chat) for replica in ready)
                return await asyncio.gather(*asked, return_exceptions=True)

        replies = _run(ask())
        answers = [reply for reply in replies if not isinstance(reply, BaseException)]
        for failure in (reply for reply in replies if isinstance(reply, BaseException)):
            if not isinstance(failure, ReplicaLostError):
                raise failure
            if not answers:
                raise EngineError(f"{failure} (expected a server that can write prompts)") from None
        if any(answer != answers[0] for answer in answers):
            raise EngineError(f"the servers {', '.join(self.urls)} have different tokenizers (expected one for all)")
        return answers[0]

    def close(self) -> None:
        """Remove the published weights."""
        if self.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _rescale(self, scale: float) -> None:
        """Sample at another temperature, all processes at once: one that goes ahead would spoil the others' answers."""
        if scale == self._version.scale:
            return
        self.barrier()
        self._version = replace(self._version, scale=scale)
        if self.is_main:
            _run(self._ready_alone())
        self.barrier()

    async def _answers(
        self, requests: Sequence[_Request], sampling: SamplingConfig, version: Version
    ) -> dict[int, Response]:
        answers: dict[int, Response] = {}
        losses: Losses = defaultdict(list)
        async with self._client() as client:
            while missing := [request for request in requests if request.index not in answers]:
                ready = await self._ready(client, version, losses)
                shares = _shares(missing, len(ready))
                await asyncio.gather(
                    *(
                        self._share(replica, share, sampling, version, answers, losses)
                        for replica, share in zip(ready, shares, strict=True)
                    )
                )
        return answers

    async def _share(
        self, replica: Replica, share: Sequence[_Request], sampling: SamplingConfig, version: Version,
        answers: dict[int, Response], losses: Losses,
    ) -> None:  # fmt: skip
        """Let one server answer its share, until it is lost."""

        async def answer(request: _Request) -> None:
            response = await replica.answer(request.prompt, request.seed, sampling, self.end_ids, version)
            assert request.index not in answers, f"request {request.index} was answered twice"
            answers[request.index] = response

        tasks = [asyncio.create_task(answer(request)) for request in share]
        lost: ReplicaLostError | None = None
        try:
            await asyncio.gather(*tasks)
        except ReplicaLostError as error:
            lost = error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if lost is not None:
            losses[replica.url].append(lost)
            unanswered = sum(request.index not in answers for request in share)
            print(f"warning: {lost}; {unanswered} of its {len(share)} requests go elsewhere", flush=True)

    async def _ready(self, client: httpx.AsyncClient, version: Version, losses: Losses) -> list[Replica]:
        """Return the servers that answer and have `version`. EngineError when there is none."""
        replicas = [Replica(client, url, self.settings) for url in self.urls if len(losses[url]) < LOSSES]
        results = await asyncio.gather(
            *(replica.serve(version, self.is_main) for replica in replicas), return_exceptions=True
        )
        lost: list[ReplicaLostError] = []
        for result in results:
            if isinstance(result, ReplicaLostError):
                lost.append(result)
            elif result is not None:
                raise result
        ready = [replica for replica, result in zip(replicas, results, strict=True) if result is None]
        if not ready:
            lost += [earlier[-1] for earlier in losses.values() if earlier]
            # Rather one that says how a server is to be started than one that is gone.
            reason = min(lost, key=lambda one: one.expected != START_IT)
            raise EngineError(
                f"none of the servers {', '.join(self.urls)} answers: {reason} (expected {reason.expected})"
            )
        return ready

    async def _ready_alone(self) -> None:
        async with self._client() as client:
            await self._ready(client, self._version, defaultdict(list))

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=self.settings.concurrency * len(self.urls))
        return httpx.AsyncClient(limits=limits, trust_env=False)  # no proxy stands between us and loopback

    def _note(self) -> Path:
        return self.folder / "newest.json"


def _alone() -> None:
    """No other process to wait for."""


def _shares(requests: Sequence[_Request], servers: int) -> list[list[_Request]]:
    """Return requests by server: those of one prompt together, for its prefix cache, and each server about as many."""
    by_prompt: dict[tuple[int, ...], list[_Request]] = {}
    for request in requests:
        by_prompt.setdefault(request.prompt, []).append(request)
    shares: list[list[_Request]] = [[] for _ in range(servers)]
    for group in sorted(by_prompt.values(), key=len, reverse=True):
        min(shares, key=len).extend(group)
    return shares


def _write_shards(named_tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> None:
    """Safetensors files of about SHARD_BYTES, so that no more than one is in memory beside the model."""
    shard: dict[str, torch.Tensor] = {}
    size = files = 0
    for name, tensor in named_tensors:
        # A copy: tied weights share their memory, which safetensors refuses.
        shard[name] = tensor.detach().to("cpu", copy=True).contiguous()
        size += shard[name].nbytes
        if size >= SHARD_BYTES:
            save_file(shard, folder / f"model-{files:05d}.safetensors")
            shard, size, files = {}, 0, files + 1
    if shard:
        save_file(shard, folder / f"model-{files:05d}.safetensors")


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    return asyncio.run(work)
