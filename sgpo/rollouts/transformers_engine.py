"""Sampling with a transformers model: the engine that needs nothing else installed.

Prompts that occur several times (a group's rollouts) are read once. Rows that have finished leave the batch.
Letters: B rows in the batch, U unique prompts, T prompt length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sgpo.config import SamplingConfig
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.kv_cache import PreallocatedCache
from sgpo.rollouts.sampling import sample_tokens, uniforms
from sgpo.rollouts.schema import Response

COMPACT_BELOW = 0.8
"""Rows are dropped from the batch when the share of live ones falls below this: dropping copies the cache."""


class TransformersEngine:
    """A RolloutEngine on a model in this process.

    Given the trainer's own module it always samples from the current weights, and `load_weights` is not needed.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        end = tokenizer.eos_token_id
        if end is None:
            raise ValueError("the tokenizer has no end token (expected eos_token in tokenizer_config.json)")
        self.end_id = int(end)  # type: ignore[arg-type]
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end)  # type: ignore[arg-type]

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]
    ) -> list[Response]:
        """One response per prompt and seed, in the order given.

        Raises PromptTooLongError when prompt and response may exceed the model's positions (a prompt is refused rather
        than cut), ValueError for an empty prompt or unequal numbers of prompts and seeds.
        """
        self._check(prompts, sampling, seeds)
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), tuple(prompts[index]), index))
        responses: dict[int, Response] = {}
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                for start in range(0, len(order), sampling.batch_size):
                    part = order[start : start + sampling.batch_size]
                    decoded = self._decode([prompts[i] for i in part], [seeds[i] for i in part], sampling)
                    responses.update(zip(part, decoded, strict=True))
        finally:
            self.model.train(was_training)
        return [responses[index] for index in range(len(prompts))]

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy every parameter in place; ValueError names one that is unknown, missing or of another shape.

        A tied output projection may be given or left out.
        """
        own = dict(self.model.named_parameters())
        tied = {name for name in self.model.state_dict() if name not in own}
        missing = set(own)
        for name, tensor in named_tensors:
            if name in tied:
                continue
            if name not in own:
                raise ValueError(f"unknown weight '{name}' (expected the parameters of {type(self.model).__name__})")
            if own[name].shape != tensor.shape:
                raise ValueError(f"weight '{name}' has shape {tuple(tensor.shape)} (expected {tuple(own[name].shape)})")
            own[name].data.copy_(tensor)
            missing.discard(name)
        if missing:
            raise ValueError(f"missing weight '{min(missing)}' ({len(missing)} of {len(own)} were not given)")

    def _check(self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int]) -> None:
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds (expected one seed per prompt)")
        positions = self.model.config.max_position_embeddings
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"prompt {index} is empty")
            if len(prompt) + sampling.max_new_tokens > positions:
                raise PromptTooLongError(
                    f"prompt {index} has {len(prompt)} tokens and may be answered with {sampling.max_new_tokens} "
                    f"(expected at most {positions} together)"
                )

    def _decode(self, prompts: list[Sequence[int]], seeds: list[int], sampling: SamplingConfig) -> list[Response]:
        state = self._read_prompts(prompts, seeds, sampling)
        tokens_BR = torch.full((len(prompts), sampling.max_new_tokens), self.pad_id, device=self.model.device)
        logprobs_BR = torch.zeros(tokens_BR.shape, device=self.model.device)
        head_weight_VD = self.model.get_output_embeddings().weight
        for position in range(sampling.max_new_tokens):
            logits_BV = state.hidden_BD @ head_weight_VD.T
            token_B, logprob_B = sample_tokens(
                logits_BV, sampling.temperature, sampling.top_p, uniforms(state.seeds_B, position)
            )
            alive = state.alive_B
            tokens_BR[state.row_B[alive], position] = token_B[alive]
            logprobs_BR[state.row_B[alive], position] = logprob_B[alive]
            state.alive_B = alive & (token_B != self.end_id)
            live = int(state.alive_B.sum())
            if live == 0 or position + 1 == sampling.max_new_tokens:
                break
            if live < COMPACT_BELOW * len(state.alive_B):
                kept = state.alive_B.nonzero().squeeze(1)
                state.take_rows(kept)
                token_B = token_B[kept]
            self._advance(state, token_B)
        return self._responses(tokens_BR, logprobs_BR)

    def _read_prompts(self, prompts: list[Sequence[int]], seeds: list[int], sampling: SamplingConfig) -> _Decoding:
        """One forward pass over the unique prompts, left-padded; then one row per rollout."""
        device = self.model.device
        unique = {prompt: index for index, prompt in enumerate(dict.fromkeys(tuple(prompt) for prompt in prompts))}
        longest = max(len(prompt) for prompt in unique)
        padded = [[self.pad_id] * (longest - len(prompt)) + list(prompt) for prompt in unique]
        input_ids_UT = torch.tensor(padded, device=device)
        start_U = torch.tensor([longest - len(prompt) for prompt in unique], device=device)
        column_T = torch.arange(longest, device=device)
        real_UT = column_T >= start_U[:, None]
        # A padded column sees itself, so that no row of the softmax is empty.
        causal_TT = column_T[:, None] >= column_T
        mask_U1TT = ((causal_TT & real_UT[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=device))[:, None]
        cache = PreallocatedCache(self.model.config.num_hidden_layers, longest + sampling.max_new_tokens)
        hidden_UTD = self.model.get_decoder()(
            input_ids=input_ids_UT,
            attention_mask=mask_U1TT,
            position_ids=(column_T - start_U[:, None]).clamp_min(0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        row_B = torch.tensor([unique[tuple(prompt)] for prompt in prompts], device=device)
        cache.take_rows(row_B)
        return _Decoding(
            cache=cache,
            hidden_BD=hidden_UTD[row_B, -1],
            start_B=start_U[row_B],
            seeds_B=torch.tensor(seeds, dtype=torch.int64, device=device),
            row_B=torch.arange(len(prompts), device=device),
            alive_B=torch.ones(len(prompts), dtype=torch.bool, device=device),
            length=longest,
        )

    def _advance(self, state: _Decoding, token_B: torch.Tensor) -> None:
        """Feed the tokens just drawn."""
        columns = torch.arange(state.length + 1, device=token_B.device)
        state.hidden_BD = self.model.get_decoder()(
            input_ids=token_B[:, None],
            attention_mask=(columns >= state.start_B[:, None])[:, None, None],
            position_ids=(state.length - state.start_B)[:, None],
            past_key_values=state.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        state.length += 1

    def _responses(self, tokens_BR: torch.Tensor, logprobs_BR: torch.Tensor) -> list[Response]:
        ended_BR = tokens_BR == self.end_id
        stopped = ended_BR.any(dim=1).tolist()
        ends = (ended_BR.int().argmax(dim=1) + 1).tolist()
        responses = []
        for tokens, logprobs, stop, end in zip(tokens_BR.tolist(), logprobs_BR.tolist(), stopped, ends, strict=True):
            length = end if stop else len(tokens)
            responses.append(Response(tuple(tokens[:length]), tuple(logprobs[:length]), "stop" if stop else "length"))
        return responses


@dataclass(slots=True)
class _Decoding:
    """Rows being decoded: `row_B` is their place in the result, `start_B` the column of their first real token."""

    cache: PreallocatedCache
    hidden_BD: torch.Tensor
    start_B: torch.Tensor
    seeds_B: torch.Tensor
    row_B: torch.Tensor
    alive_B: torch.Tensor
    length: int

    def take_rows(self, rows: torch.Tensor) -> None:
        self.cache.take_rows(rows)
        self.start_B, self.seeds_B, self.row_B = self.start_B[rows], self.seeds_B[rows], self.row_B[rows]
        self.alive_B = self.alive_B[rows]
