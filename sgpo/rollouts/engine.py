"""What every rollout engine offers; training and evaluation know nothing else of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from sgpo.config import SamplingConfig
from sgpo.errors import UserError
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.schema import Response

if TYPE_CHECKING:  # a process that only keeps servers starts without them
    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


class PromptTooLongError(UserError, ValueError):
    """A prompt that the model has no room for; prompts are refused, never cut."""


class EngineError(UserError):
    """An engine that cannot sample, or must not be sampled from; the message says what would be right."""


class RolloutEngine(Protocol):
    """Draws responses. Sampling is a pure function of (weights, prompt, seed, sampling settings)."""

    @property
    def policy_step(self) -> int | None:
        """The optimiser step whose weights are sampled from; None until it is told."""
        ...

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given. Raises PromptTooLongError, ValueError, EngineError."""
        ...

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_step: int | None = None) -> None:
        """Replace the policy's weights; the next `generate` samples from them."""
        ...

    def release_device(self) -> None:
        """Give back what memory can be given back until the next call: the sampler's turn is over."""
        ...

    def prompt_ids(self, question: str, strategy: str | None) -> list[int] | None:
        """Return the prompt as the engine's own tokenizer and chat template write it; None without a tokenizer."""
        ...


def check_request(
    prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_new_tokens: int, positions: int, vocabulary: int
) -> None:
    """Refuse what no engine may sample, with the same words in each.

    Raises PromptTooLongError when a prompt and its response may exceed the model's positions, ValueError for an empty
    prompt, an id outside the vocabulary, or unequal numbers of prompts and seeds.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds (expected one seed per prompt)")
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {index} is empty (expected at least one token)")
        if len(prompt) + max_new_tokens > positions:
            raise PromptTooLongError(
                f"prompt {index} has {len(prompt)} tokens and may be answered with {max_new_tokens} "
                f"(expected at most {positions} together)"
            )
        if min(prompt) < 0 or max(prompt) >= vocabulary:
            raise ValueError(f"prompt {index} has a token outside the vocabulary (expected ids below {vocabulary})")


def unwindowed_positions(config: PreTrainedConfig) -> int:
    """Return how many tokens see all that is before them: no more than the window of layers without kinds."""
    window = None if getattr(config, "layer_types", None) else getattr(config, "sliding_window", None)
    return min(config.max_position_embeddings, window or sys.maxsize)


def end_token_ids(source: ChatFormat | PreTrainedTokenizerBase | Sequence[int] | int) -> tuple[int, ...]:
    """Return the ids that end a response: those of the chat format, or the ids given; ValueError without any.

    Of a tokenizer they are its end token and the one with which its chat template ends a turn.
    """
    if isinstance(source, ChatFormat):
        return source.end_ids
    if isinstance(source, int | Sequence):
        end_ids = (source,) if isinstance(source, int) else tuple(source)
    elif source.chat_template:
        end_ids = ChatFormat(source).end_ids
    else:
        end_ids = () if source.eos_token_id is None else (int(source.eos_token_id),)  # type: ignore[arg-type]
    if not end_ids:
        raise ValueError("no end token (expected eos_token in tokenizer_config.json, or the end token's id)")
    return end_ids
