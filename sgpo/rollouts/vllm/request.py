"""What vLLM is asked for, in process and over HTTP alike, and what may be taken of its answers."""

import os
from collections.abc import Sequence
from typing import Any

from sgpo.config import SamplingConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.schema import FinishReason

WORKER_EXTENSION = "sgpo.rollouts.vllm.worker.PolicyWorker"
"""What vLLM is to mix into its workers."""

# Before vllm is imported, in this process or in a server's.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CPU_ENVIRONMENT = {
    "TORCH_COMPILE_DISABLE": "1",  # two helpers of the sampler would be compiled with g++, even in eager mode
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer's threads run on the same cores
}

CPU_BATCH_TOKENS = 4096
"""Prompt tokens that vLLM reads at once on a CPU, where prompts must not be read in chunks: vLLM 0.32 then dies of a
request with a seed ("CPU Generator does not use offset"), because it cannot take a chunk's random number back."""


def vllm_environment(cuda: bool) -> dict[str, str]:
    """Environment variables for vLLM; what the user has set stays."""
    wanted = ENVIRONMENT if cuda else {**ENVIRONMENT, **CPU_ENVIRONMENT}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def logit_scale(sampling: SamplingConfig) -> float:
    """Return what logits are multiplied by: 1 / temperature, and 1 for greedy decoding."""
    return 1.0 / sampling.temperature if sampling.temperature > 0.0 else 1.0


def sampling_parameters(sampling: SamplingConfig, seed: int, end_ids: Sequence[int]) -> dict[str, Any]:
    """Arguments of vLLM's SamplingParams. The temperature is in the logits already (sgpo.rollouts.vllm.worker)."""
    greedy = sampling.temperature == 0.0
    return {
        "temperature": 0.0 if greedy else 1.0,
        "top_p": 1.0 if greedy else sampling.top_p,
        "seed": seed,
        "max_tokens": sampling.max_new_tokens,
        "logprobs": 0,
        "stop_token_ids": list(end_ids),
        "ignore_eos": True,  # the trainer's end tokens end a response, not those of a generation_config.json
        "detokenize": False,
    }


def finish_reason(reason: str | None, token_ids: Sequence[int], end_ids: Sequence[int]) -> FinishReason:
    """Which came first, the end token or the limit. EngineError for anything else: what was aborted is no response."""
    if reason == "stop" and token_ids and token_ids[-1] in end_ids:
        return "stop"
    if reason == "length":
        return "length"
    raise EngineError(f"vLLM ended a response by '{reason}' (expected an end token, or the length limit)")
