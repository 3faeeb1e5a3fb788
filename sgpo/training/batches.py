"""Token batches: a prompt and its response side by side, right-padded, cut into micro-batches under a token budget.

Letters: B rows, T padded length of a row, R longest response in the batch, N response tokens of all rows together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PADDING_SHARE = 0.08
"""Largest share of a micro-batch's tokens that is padding."""


@dataclass(frozen=True, slots=True)
class Row:
    """One response in one context; `key` says what it is (for the caller)."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    key: int

    def __post_init__(self) -> None:
        if not self.prompt or not self.response:
            raise ValueError(f"row {self.key}: prompt has {len(self.prompt)} and response {len(self.response)} tokens")

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Rows as tensors. The token at response position t is predicted at column len(prompt) + t - 1."""

    rows: tuple[Row, ...]
    input_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    row_index_N: torch.Tensor
    column_index_N: torch.Tensor
    targets_N: torch.Tensor
    mask_BR: torch.Tensor

    def unflatten(self, values_N: torch.Tensor) -> torch.Tensor:
        """[N] values of the response tokens as [B, R], zero where there is no token."""
        return values_N.new_zeros(self.mask_BR.shape).masked_scatter(self.mask_BR, values_N)

    def per_token(self, values: Sequence[float]) -> torch.Tensor:
        """[N] numbers of the response tokens, row after row, as a float64 tensor on the batch's device."""
        return torch.tensor(values, dtype=torch.float64, device=self.targets_N.device)


def make_batch(rows: Sequence[Row], pad_id: int, device: torch.device) -> TokenBatch:
    """Pad `rows` to the longest one."""
    lengths = [len(row) for row in rows]
    longest_response = max(len(row.response) for row in rows)
    padded = [[*row.prompt, *row.response, *([pad_id] * (max(lengths) - len(row)))] for row in rows]
    columns = [range(len(row.prompt) - 1, len(row) - 1) for row in rows]
    column_index = torch.tensor([column for span in columns for column in span])
    response_lengths = torch.tensor([len(row.response) for row in rows])
    return TokenBatch(
        rows=tuple(rows),
        input_ids_BT=torch.tensor(padded, device=device),
        attention_mask_BT=(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long().to(device),
        row_index_N=torch.arange(len(rows)).repeat_interleave(response_lengths).to(device),
        column_index_N=column_index.to(device),
        targets_N=torch.tensor([token for row in rows for token in row.response], device=device),
        mask_BR=(torch.arange(longest_response) < response_lengths[:, None]).to(device),
    )


def split_rows(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Rows in micro-batches of at most `tokens` padded tokens, longest first, and at most 8 % of them padding.

    A row longer than the budget is a micro-batch of its own.
    """
    groups: list[list[Row]] = []
    held = 0
    for row in sorted(rows, key=lambda row: (-len(row), row.key)):
        padded = (len(groups[-1]) + 1) * len(groups[-1][0]) if groups else 0
        if not groups or padded > tokens or padded - held - len(row) > PADDING_SHARE * padded:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += len(row)
    return groups
