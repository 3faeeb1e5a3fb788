"""Which token of a shared line sees which: as a matrix for SDPA, or as blocks that FlexAttention can skip.

A token sees the earlier ones of its family: those of the prompt (part 0) and those of its own response.
"""

import functools
import logging
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sgpo.errors import first_line

logger = logging.getLogger(__name__)

BLOCK = 128
"""Tokens on a side of a block; FlexAttention's own default."""
SKIPPING_ATTENTION = "sgpo_block_mask"
TOLERANCE = 0.02
"""Largest relative distance between attention as the layers compute it, in bfloat16 most often, and in float32."""


def token_mask(family_BT: torch.Tensor, part_BT: torch.Tensor) -> torch.Tensor:
    """Return the mask as a matrix, [B, 1, T, T]: true where the first token sees the second.

    A part's tokens lie next to one another, and a family's responses behind their prompt. So it is filled part by part:
    to compare all pairs of tokens takes several times as long.
    """
    lines, length = family_BT.shape
    seen_BTT = np.zeros((lines, length, length), dtype=bool)
    earlier_TT = np.tri(length, dtype=bool)
    changed_BT = (family_BT.diff() != 0) | (part_BT.diff() != 0)
    for seen_TT, changed_T, part_T in zip(seen_BTT, changed_BT.cpu().numpy(), part_BT.tolist(), strict=True):
        prompt = slice(0)
        for start, end in pairwise((0, *np.flatnonzero(changed_T) + 1, length)):
            own = slice(start, end)
            seen_TT[own, own] = earlier_TT[: end - start, : end - start]
            if part_T[start] == 0:
                prompt = own
            else:
                seen_TT[own, prompt] = True
    return torch.from_numpy(seen_BTT).to(family_BT.device)[:, None]


def added(mask: torch.Tensor | BlockMask, dtype: torch.dtype) -> torch.Tensor | BlockMask:
    """Return a `token_mask` as the numbers that SDPA adds, 0 and -inf; any other mask as it is.

    Of booleans SDPA makes them itself, in every layer, and every layer keeps its own for backward.
    """
    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bool:
        return torch.where(mask, torch.zeros((), dtype=dtype, device=mask.device), -torch.inf)
    return mask


def block_mask(family_BT: torch.Tensor, part_BT: torch.Tensor) -> BlockMask:
    """Return the same mask as blocks of 128 x 128, T a multiple of it; on a GPU made without any [T, T] matrix."""
    lines, length = family_BT.shape

    def sees(line: torch.Tensor, _: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        same = family_BT[line, first] == family_BT[line, second]
        seen = (part_BT[line, second] == 0) | (part_BT[line, first] == part_BT[line, second])
        return same & seen & (first >= second)

    compiled = family_BT.is_cuda
    return create_block_mask(sees, lines, None, length, length, family_BT.device, BLOCK, _compile=compiled)


def skipping_attention(
    module: torch.nn.Module, query_BHTS: torch.Tensor, key_BKTS: torch.Tensor, value_BKTS: torch.Tensor,
    attention_mask: BlockMask | torch.Tensor | None, scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Compute attention under a block mask, in a compiled layer as a part of it; under another mask by SDPA."""
    if not isinstance(attention_mask, BlockMask):
        return sdpa_attention_forward(module, query_BHTS, key_BKTS, value_BKTS, attention_mask, scaling=scaling, **more)
    attend: Any = flex_attention if torch.compiler.is_compiling() else _compiled_attention()
    out_BHTS = attend(
        query_BHTS, key_BKTS, value_BKTS, block_mask=attention_mask, scale=scaling,
        enable_gqa=query_BHTS.shape[1] != key_BKTS.shape[1],
    )  # fmt: skip
    return out_BHTS.transpose(1, 2).contiguous(), None


@functools.cache
def _compiled_attention() -> Any:
    return torch.compile(flex_attention)


def skipping_works(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Compare attention of the model's shape on its device with SDPA's, values and gradients; a warning says why not.

    `dtype` is what the layers compute in: kernels for float32 need twice the shared memory, and may find too little. A
    compiler's mistake would otherwise be a wrong gradient that nobody sees.
    """
    try:
        off = _largest_difference(model, dtype)
    except Exception as error:  # of the compiler, in many kinds
        reason = first_line(error, 200)
    else:
        if off <= TOLERANCE:
            return True
        reason = f"off by {off:.1%}"
    logger.warning(
        "attention that skips blocks does not work on %s (%s): all tokens are compared", model.device, reason
    )
    return False


def _largest_difference(model: PreTrainedModel, dtype: torch.dtype) -> float:
    """Return the largest relative distance of output and gradients, on two families over three blocks."""
    config, device, length = model.config, model.device, 3 * BLOCK
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    random = torch.Generator().manual_seed(0)
    heads = config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads
    drawn = [torch.randn(1, each, length, size, generator=random).to(device, torch.bfloat16) for each in heads]
    column = torch.arange(length, device=device)[None]
    family, part = column // 150, column % 150 // 40  # a prompt of 40, responses of 40, 40 and 30
    slope = torch.randn(1, length, heads[0], size, generator=random).to(device)
    found = []
    for number, mask in ((dtype, block_mask(family, part)), (torch.float32, token_mask(family, part))):
        inputs = [value.detach().to(number, copy=True).requires_grad_() for value in drawn]
        with torch.enable_grad():
            if isinstance(mask, BlockMask):
                out, _ = skipping_attention(model, inputs[0], inputs[1], inputs[2], mask)
            else:
                out = scaled_dot_product_attention(
                    inputs[0], inputs[1], inputs[2], attn_mask=mask, enable_gqa=True
                ).transpose(1, 2)
            (out.float() * slope).sum().backward()
        found.append([out.detach(), *(value.grad for value in inputs if value.grad is not None)])
    return max(float((ours - plain).norm() / plain.norm()) for ours, plain in zip(*found, strict=True))


def windowed_layers(model: PreTrainedModel) -> set[str]:
    """Return the kinds of layers whose tokens do not see all that is before them.

    Mistral's have no kinds: all have the window that its settings name, if any.
    """
    config = model.config
    kinds = getattr(config, "layer_types", None) or []
    window = None if kinds else getattr(config, "sliding_window", None)
    if window is not None and window < config.max_position_embeddings:
        kinds = ["sliding_attention"]
    return set(kinds) - {"full_attention"}


AttentionInterface.register(SKIPPING_ATTENTION, skipping_attention)
AttentionMaskInterface.register(SKIPPING_ATTENTION, sdpa_mask)  # of rows that are padded, and have no blocks
