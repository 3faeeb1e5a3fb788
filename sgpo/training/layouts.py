"""How rows lie in a micro-batch: each with its prompt (`PlainRows`), or in shared lines (`shared_prompts`)."""

import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import PreTrainedModel

from sgpo.training.batches import RowT, TokenBatch, make_batch, split_rows
from sgpo.training.masks import SKIPPING_ATTENTION, windowed_layers
from sgpo.training.shared_prompts import OneLine, SharedPrompts

logger = logging.getLogger(__name__)


class Layout(Protocol):
    """Cut rows into micro-batches, count what those cost, and make tensors of them."""

    def split(self, rows: Sequence[RowT], tokens: int) -> list[list[RowT]]:
        """Return micro-batches of at most `tokens` computed tokens; a row longer than that is one of its own."""
        ...

    def size(self, rows: Sequence[RowT]) -> tuple[int, int]:
        """Return the tokens that a micro-batch of these rows computes, and how many of them are padding."""
        ...

    def batch(self, rows: Sequence[RowT], pad_id: int, device: torch.device) -> TokenBatch[RowT]:
        """Return the micro-batch as tensors; tokens are in the order of `rows`."""
        ...


class PlainRows:
    """Each row is a line: its prompt, its response, padding."""

    def split(self, rows: Sequence[RowT], tokens: int) -> list[list[RowT]]:
        """Return rows of like length together."""
        return split_rows(rows, tokens)

    def size(self, rows: Sequence[RowT]) -> tuple[int, int]:
        """Return lines times the longest, and what of it is padding."""
        padded = len(rows) * max(map(len, rows))
        return padded, padded - sum(map(len, rows))

    def batch(self, rows: Sequence[RowT], pad_id: int, device: torch.device) -> TokenBatch[RowT]:
        """Pad rows to the longest one."""
        return make_batch(rows, pad_id, device)


def layout_for(model: PreTrainedModel, shared: bool) -> Layout:
    """Return the layout that is asked for; plain rows, with one warning, where the model cannot mask single tokens.

    Where attention skips blocks (`compile_layers`), all rows of a micro-batch are one line.
    """
    if not shared:
        return PlainRows()
    config = model.config
    attention = config._attn_implementation
    if attention == SKIPPING_ATTENTION:
        return OneLine()
    windows = windowed_layers(model)
    if attention == "sdpa" and not windows:
        return SharedPrompts(_even_length(model))
    reason = f"layers of {', '.join(sorted(windows))}" if windows else f"attention {attention}"
    logger.warning("training.shared_prompts: %s with %s keeps a prompt in every row", config.model_type, reason)
    return PlainRows()


def _even_length(model: PreTrainedModel) -> float:
    """Return at which length of a line comparing its tokens costs as much as the matrices of the layers.

    A token costs 2 operations per weight, and 4 per number of the queries' width for each token it is compared with.
    """
    config, layers = model.config, dict(model.get_decoder().named_parameters())
    weights = sum(value.numel() for name, value in layers.items() if value.ndim == 2 and "embed" not in name)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return weights / (2 * config.num_hidden_layers * config.num_attention_heads * head)
