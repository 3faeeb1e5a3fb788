"""Which token of a shared line sees which: as a matrix for SDPA, or as blocks that FlexAttention can skip.

A token sees the earlier ones of its family: those of the prompt (part 0) and those of its own response.
"""

import logging
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

logger = logging.getLogger(__name__)

BLOCK = 128
"""Tokens on a side of a block; FlexAttention's own default."""
SKIPPING_ATTENTION = "sgpo_block_mask"


def token_mask(family_BT: torch.Tensor, part_BT: torch.Tensor) -> torch.Tensor:
    """Return the mask as a matrix, [B, 1, T, T]: true where the first token sees the second."""
    same = family_BT[:, :, None] == family_BT[:, None, :]
    seen = (part_BT[:, None, :] == 0) | (part_BT[:, :, None] == part_BT[:, None, :])
    length = family_BT.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=family_BT.device).tril()
    return (same & seen & earlier)[:, None]


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
    attend: Any = flex_attention if torch.compiler.is_compiling() else _compiled_attention
    out_BHTS = attend(
        query_BHTS, key_BKTS, value_BKTS, block_mask=attention_mask, scale=scaling,
        enable_gqa=query_BHTS.shape[1] != key_BKTS.shape[1],
    )  # fmt: skip
    return out_BHTS.transpose(1, 2).contiguous(), None


_compiled_attention = torch.compile(flex_attention)


def skipping_works(model: PreTrainedModel) -> bool:
    """Try attention of the model's shape, forward and backward, on its device; a warning says why it does not work."""
    config, device = model.config, model.device
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (1, config.num_attention_heads, 2 * BLOCK, size)
    query = torch.zeros(shape, device=device, dtype=torch.bfloat16, requires_grad=True)
    key = query.detach()[:, : config.num_key_value_heads].clone().requires_grad_()
    family = torch.zeros(1, 2 * BLOCK, dtype=torch.int64, device=device)
    try:
        with torch.enable_grad():
            out, _ = skipping_attention(model, query, key, key, block_mask(family, family))
            out.sum().backward()
    except Exception as error:  # of the compiler, in many kinds
        reason = str(error).strip().split("\n")[0][:200]
        logger.warning("attention that skips blocks does not work on %s (%s): every token is compared", device, reason)
        return False
    return True


def windowed_layers(model: PreTrainedModel) -> set[str]:
    """Return the kinds of layers whose tokens do not see all that is before them."""
    return set(getattr(model.config, "layer_types", None) or []) - {"full_attention"}


AttentionInterface.register(SKIPPING_ATTENTION, skipping_attention)
AttentionMaskInterface.register(SKIPPING_ATTENTION, sdpa_mask)  # of rows that are padded, and have no blocks
