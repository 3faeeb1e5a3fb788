"""Prompts whose keys and values are kept once for all rollouts that continue them, and attention to them.

Letters: B rows (rollouts) in the batch, U unique prompts, R most rows of one prompt, T prompt length, N new tokens,
H query heads, K key-value heads, G = H/K, S size of a head.
"""

import torch
from transformers import AttentionInterface

from sgpo.rollouts.kv_cache import Compaction, PreallocatedCache


class SharedPromptCache:
    """Keys and values of the unique prompts, and which rows attend to which; `slot_B` is a row's place in [U * R].

    `column_1`, [1], is the last column of the responses that is written, where more are shown.
    """

    def __init__(self, cache: PreallocatedCache, real_UT: torch.Tensor, prompt_B: torch.Tensor) -> None:
        self.cache, self.real_UT = cache, real_UT
        self.column_1: torch.Tensor | None = None
        self._arrange(prompt_B)

    def take_rows(self, rows: torch.Tensor) -> None:
        """Keep these rows in this order, and the prompts that they still need."""
        prompt_B = self.prompt_B[rows]
        needed_U = prompt_B.bincount(minlength=len(self.real_UT)) > 0
        if not bool(needed_U.all()):
            kept = Compaction.of(needed_U)
            self.cache.compact(kept)
            self.real_UT = self.real_UT[kept.order]
            place_U = torch.empty_like(needed_U, dtype=torch.int64)
            place_U[kept.order] = torch.arange(len(kept.order), device=rows.device)
            prompt_B = place_U[prompt_B]
        self._arrange(prompt_B)

    def _arrange(self, prompt_B: torch.Tensor) -> None:
        self.prompt_B = prompt_B
        counts_U = prompt_B.bincount(minlength=len(self.real_UT))
        by_prompt_B = prompt_B.argsort(stable=True)
        firsts_U = counts_U.cumsum(0) - counts_U
        rank_B = torch.empty_like(prompt_B)
        rank_B[by_prompt_B] = torch.arange(len(prompt_B), device=prompt_B.device) - firsts_U[prompt_B[by_prompt_B]]
        self.rows_per_prompt = int(counts_U.max())
        self.slot_B = prompt_B * self.rows_per_prompt + rank_B

    def gather(self, rows_BKGX: torch.Tensor) -> torch.Tensor:
        """[B, K, G, X] -> [U, K, R * G, X], zero where a prompt has fewer than R rows."""
        _, kv_heads, groups, size = rows_BKGX.shape
        slots = rows_BKGX.new_zeros(len(self.real_UT) * self.rows_per_prompt, kv_heads, groups, size)
        slots[self.slot_B] = rows_BKGX
        by_prompt = slots.view(-1, self.rows_per_prompt, kv_heads, groups, size).transpose(1, 2)
        return by_prompt.reshape(len(self.real_UT), kv_heads, self.rows_per_prompt * groups, size)

    def scatter(self, prompts_UKMX: torch.Tensor) -> torch.Tensor:
        """Return the way back: [U, K, R * G, X] -> [B, K, G, X]."""
        prompts, kv_heads, _, size = prompts_UKMX.shape
        by_row = prompts_UKMX.view(prompts, kv_heads, self.rows_per_prompt, -1, size).transpose(1, 2)
        return by_row.reshape(prompts * self.rows_per_prompt, kv_heads, -1, size)[self.slot_B]


def shared_prompt_attention(
    module: torch.nn.Module,
    query_BH1S: torch.Tensor,
    key_BKNS: torch.Tensor,
    value_BKNS: torch.Tensor,
    attention_mask: None,
    scaling: float,
    shared_prompts: SharedPromptCache,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token per row to its prompt (kept once per prompt) and its response, in one softmax."""
    rows, heads, _, size = query_BH1S.shape
    layer = shared_prompts.cache.layers[module.layer_idx]  # type: ignore[index]
    query_BKGS = (query_BH1S * scaling).reshape(rows, key_BKNS.shape[1], -1, size)
    to_prompt_UKMT = shared_prompts.gather(query_BKGS) @ layer.keys.transpose(2, 3)
    to_prompt_UKMT.masked_fill_(~shared_prompts.real_UT[:, None, None], float("-inf"))
    to_response_BKGN = query_BKGS @ key_BKNS.transpose(2, 3)
    if shared_prompts.column_1 is not None:
        column_N = torch.arange(key_BKNS.shape[2], device=key_BKNS.device)
        to_response_BKGN.masked_fill_(column_N > shared_prompts.column_1, float("-inf"))
    scores_BKGX = torch.cat([shared_prompts.scatter(to_prompt_UKMT), to_response_BKGN], dim=-1)
    # At least float32, as transformers' own attention does.
    precision = torch.promote_types(scores_BKGX.dtype, torch.float32)
    weights_BKGX = scores_BKGX.softmax(dim=-1, dtype=precision).to(value_BKNS.dtype)
    prompt_BKGT, response_BKGN = weights_BKGX.split([layer.keys.shape[2], key_BKNS.shape[2]], dim=-1)
    from_prompt_BKGS = shared_prompts.scatter(shared_prompts.gather(prompt_BKGT) @ layer.values)
    return (from_prompt_BKGS + response_BKGN @ value_BKNS).reshape(rows, 1, heads, size), None


SHARED_PROMPT_ATTENTION = "sgpo_shared_prompt"
# No mask function is registered under this name: transformers then builds no mask for the decoding steps.
AttentionInterface.register(SHARED_PROMPT_ATTENTION, shared_prompt_attention)
