"""Sampling with a transformers model: the engine that needs nothing else installed.

Prompts that occur several times (a group's rollouts) are read once and their keys and values are kept once; every
rollout keeps only those of its own response. Decoding small models is bound by memory traffic, and this is most of it.
Letters: B rows (rollouts) in the batch, U unique prompts, R most rows of one prompt, T prompt length, N new tokens,
H query heads, K key-value heads, G = H/K, S size of a head, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sgpo.config import SamplingConfig
from sgpo.rollouts.attention import attention, uncompiled
from sgpo.rollouts.chat import ChatFormat, chat_of
from sgpo.rollouts.engine import check_request, end_token_ids, unwindowed_positions
from sgpo.rollouts.graphs import GraphedSteps
from sgpo.rollouts.kv_cache import Compaction, PreallocatedCache
from sgpo.rollouts.sampling import sample_tokens, uniforms
from sgpo.rollouts.schema import FinishReason, Response
from sgpo.rollouts.shared_prompts import SHARED_PROMPT_ATTENTION, SharedPromptCache

UNSET = -1  # in the matrix of sampled tokens: nothing was sampled here
FEW_ROWS = 16
"""A GPU decodes so many rows as fast as fewer: they are not worth another graph."""


class TransformersEngine:
    """A RolloutEngine on a model in this process: Qwen2, Llama and others of their build, in any float type.

    Given the trainer's own module it always samples from the current weights, and `load_weights` is not needed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat_or_end_ids: ChatFormat | PreTrainedTokenizerBase | Sequence[int] | int,
        device: torch.device | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Responses end where the chat format says, or at any of the ids given instead.

        `device` moves the model; `progress(position, live)` is called after every token with the tokens drawn so far
        per row of the batch and the number of rows without end token.
        Raises ValueError without end token, and for a model with sliding-window layers.
        """
        self.model = model if device is None else model.to(device)  # type: ignore[arg-type]
        self.end_ids = end_token_ids(chat_or_end_ids)
        self.chat = None if isinstance(chat_or_end_ids, int | Sequence) else chat_or_end_ids
        self.progress = progress
        self.policy_step: int | None = None
        if "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
            raise ValueError(f"{type(model).__name__} has sliding-window layers (expected full attention throughout)")

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given.

        A response depends on (weights, prompt, seed, sampling settings), not on the other rows of its batch, but for
        rounding: the order of a matrix product's sums depends on its size, so that rarely a draw on the very edge
        between two tokens falls to the other side.

        Raises PromptTooLongError when prompt and response may exceed the model's positions, or its sliding window
        (prompts are never cut),
        ValueError for an empty prompt, an id outside the vocabulary, or unequal numbers of prompts and seeds.
        """
        config = self.model.config
        check_request(prompts, seeds, sampling.max_new_tokens, unwindowed_positions(config), config.vocab_size)
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), tuple(prompts[index]), index))
        responses: dict[int, Response] = {}
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), uncompiled(self.model):
                for start in range(0, len(order), sampling.batch_size):
                    part = order[start : start + sampling.batch_size]
                    decoded = self._decode([prompts[i] for i in part], [seeds[i] for i in part], sampling)
                    responses.update(zip(part, decoded, strict=True))
        finally:
            self.model.train(was_training)
        return [responses[index] for index in range(len(prompts))]

    def release_device(self) -> None:
        """Nothing is held between two calls but the model."""

    def prompt_ids(self, question: str, strategy: str | None) -> list[int] | None:
        """Return the prompt by the chat format given; None when only end tokens were given."""
        return None if self.chat is None else chat_of(self.chat).build(question, strategy)

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], policy_step: int | None = None) -> None:
        """Copy every parameter in place; ValueError names one that is unknown, missing or of another shape.

        A tied output projection may be given or left out. Tensors are taken one at a time, so that a sharded trainer
        never holds a second whole model; after an error the weights are a mixture and must be loaded again.
        """
        own = self.model.state_dict(keep_vars=True)
        missing = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for name, tensor in named_tensors:
            if name not in own:
                raise ValueError(f"unknown weight '{name}' (expected the parameters of {type(self.model).__name__})")
            if own[name].shape != tensor.shape:
                raise ValueError(f"weight '{name}' has shape {tuple(tensor.shape)} (expected {tuple(own[name].shape)})")
            with torch.no_grad():
                own[name].copy_(tensor)
            missing.pop(id(own[name]), None)
        if missing:
            raise ValueError(f"missing weight '{min(missing.values())}' ({len(missing)} were not given)")
        self.policy_step = policy_step

    def _decode(self, prompts: list[Sequence[int]], seeds: list[int], sampling: SamplingConfig) -> list[Response]:
        device = self.model.device
        tokens_BN = torch.full((len(prompts), sampling.max_new_tokens), UNSET, device=device)
        logprobs_BN = torch.zeros(tokens_BN.shape, device=device)
        end_ids = torch.tensor(self.end_ids, device=device)
        state = self._read_prompts(prompts, seeds, sampling.max_new_tokens)
        head: torch.nn.Module = self.model.get_output_embeddings()  # type: ignore[assignment]
        for position in range(sampling.max_new_tokens):
            draws_B = uniforms(state.seeds_B, position)
            token_B, logprob_B = sample_tokens(head(state.hidden_BD), sampling.temperature, sampling.top_p, draws_B)
            tokens_BN[state.row_B, position] = token_B.where(state.live_B, UNSET)
            logprobs_BN[state.row_B, position] = logprob_B.float()
            state.live_B &= (token_B[:, None] != end_ids).all(dim=1)
            live = int(state.live_B.sum())
            if self.progress:
                self.progress(position + 1, live)
            if live == 0 or position + 1 == sampling.max_new_tokens:
                break
            if live < len(token_B) and (state.graphs is None or live <= len(token_B) // 2 >= FEW_ROWS):
                kept = Compaction.of(state.live_B)
                state.compact(kept)
                token_B = token_B[kept.order]
            self._advance(state, token_B, position)
        return self._responses(tokens_BN, logprobs_BN)

    def _read_prompts(self, prompts: list[Sequence[int]], seeds: list[int], max_new_tokens: int) -> _Decoding:
        """One forward pass over the unique prompts, left-padded; then one row per rollout."""
        device, layers = self.model.device, self.model.config.num_hidden_layers
        unique = {prompt: index for index, prompt in enumerate(dict.fromkeys(tuple(prompt) for prompt in prompts))}
        longest = max(len(prompt) for prompt in unique)
        pads_U = torch.tensor([longest - len(prompt) for prompt in unique], device=device)
        column_T = torch.arange(longest, device=device)
        real_UT = column_T >= pads_U[:, None]
        # A padded column sees itself, so that no row of the softmax is empty.
        causal_TT = column_T[:, None] >= column_T
        mask_U1TT = ((causal_TT & real_UT[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=device))[:, None]
        padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in unique]
        cache = PreallocatedCache(layers, longest)
        with attention(self.model, "sdpa"):
            hidden_UTD = self.model.get_decoder()(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=mask_U1TT,
                position_ids=(column_T - pads_U[:, None]).clamp_min(0),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        prompt_B = torch.tensor([unique[tuple(prompt)] for prompt in prompts], device=device)
        shared, responses = SharedPromptCache(cache, real_UT, prompt_B), PreallocatedCache(layers, max_new_tokens)
        return _Decoding(
            prompts=shared,
            cache=responses,
            graphs=self._graphs(shared, responses),
            live_B=torch.ones(len(prompts), dtype=torch.bool, device=device),
            hidden_BD=hidden_UTD[prompt_B, -1],
            start_B=longest - pads_U[prompt_B],
            seeds_B=torch.tensor(seeds, dtype=torch.int64, device=device),
            row_B=torch.arange(len(prompts), device=device),
        )

    def _graphs(self, prompts: SharedPromptCache, cache: PreallocatedCache) -> GraphedSteps | None:
        if self.model.device.type != "cuda":
            return None
        return GraphedSteps(partial(self._forward, prompts, cache), prompts, cache)

    def _advance(self, state: _Decoding, token_B: torch.Tensor, position: int) -> None:
        """Feed the tokens just drawn, which stand at `position` of their responses."""
        position_B = state.start_B + position
        if state.graphs is None:
            state.hidden_BD = self._forward(state.prompts, state.cache, token_B, position_B)
        else:
            state.hidden_BD = state.graphs.step(token_B, position_B, position)

    def _forward(
        self, prompts: SharedPromptCache, cache: PreallocatedCache, token_B: torch.Tensor, position_B: torch.Tensor
    ) -> torch.Tensor:
        """Return the hidden states of one token per row, [B, D], whose keys and values go to the cache."""
        with attention(self.model, SHARED_PROMPT_ATTENTION):
            return self.model.get_decoder()(
                input_ids=token_B[:, None],
                position_ids=position_B[:, None],
                past_key_values=cache,
                use_cache=True,
                shared_prompts=prompts,
            ).last_hidden_state[:, -1]

    def _responses(self, tokens_BN: torch.Tensor, logprobs_BN: torch.Tensor) -> list[Response]:
        lengths = (tokens_BN != UNSET).sum(dim=1).tolist()
        return [
            Response(tuple(tokens[:n]), tuple(logprobs[:n]), self._reason(tokens[n - 1]), self.policy_step)
            for tokens, logprobs, n in zip(tokens_BN.tolist(), logprobs_BN.tolist(), lengths, strict=True)
        ]

    def _reason(self, last: int) -> FinishReason:
        return "stop" if last in self.end_ids else "length"


@dataclass(slots=True)
class _Decoding:
    """Rows being decoded: `row_B` is their place in the result, `start_B` the length of their prompt.

    On a GPU they stay for a while after their end: those that are not `live_B` are decoded in vain.
    """

    prompts: SharedPromptCache
    cache: PreallocatedCache
    graphs: GraphedSteps | None
    live_B: torch.Tensor
    hidden_BD: torch.Tensor
    start_B: torch.Tensor
    seeds_B: torch.Tensor
    row_B: torch.Tensor

    def compact(self, kept: Compaction) -> None:
        """Let finished rows go."""
        self.prompts.take_rows(kept.order)
        if self.cache.get_seq_length() > 0:
            self.cache.compact(kept)
        self.start_B, self.seeds_B = self.start_B[kept.order], self.seeds_B[kept.order]
        self.row_B, self.live_B = self.row_B[kept.order], self.live_B[kept.order]
        if self.graphs is not None:
            self.graphs.forget()
