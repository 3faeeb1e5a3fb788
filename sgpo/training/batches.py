"""Token batches: a prompt and its response side by side, right-padded, cut into micro-batches under a token budget.

Letters: B rows, T padded length of a row, R longest response in the batch, N response tokens of all rows together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch.nn.attention.flex_attention import BlockMask

from sgpo.algorithms.rows import Row
from sgpo.training.world import World

PADDING_FRACTION = 0.08
"""Largest fraction of a micro-batch's tokens that is padding."""


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True, slots=True)
class TokenBatch(Generic[RowT]):
    """Rows as tensors. The token at response position t is predicted at column len(prompt) + t - 1 of a plain row.

    Where rows share a prompt (`shared_prompts.SharedPrompts`) a line holds several of them: positions are given, and
    `attention_mask_BT` is [B, 1, T, T], as a matrix or as blocks. `mask_BR` has a row of its own for each of `rows` in
    any layout.
    """

    rows: tuple[RowT, ...]
    input_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor | BlockMask
    row_index_N: torch.Tensor
    column_index_N: torch.Tensor
    targets_N: torch.Tensor
    mask_BR: torch.Tensor
    position_ids_BT: torch.Tensor | None = None

    def unflatten(self, values_N: torch.Tensor) -> torch.Tensor:
        """Return [N] values of the response tokens as [B, R], zero where there is no token."""
        return values_N.new_zeros(self.mask_BR.shape).masked_scatter(self.mask_BR, values_N)

    def places(self, chosen: Sequence[bool]) -> torch.Tensor | None:
        """Return which of the N tokens are those of the chosen rows, [M]; None where all are."""
        if all(chosen):
            return None
        lengths_B = torch.tensor([len(row.response) for row in self.rows])
        (places_M,) = torch.tensor(chosen).repeat_interleave(lengths_B).nonzero(as_tuple=True)
        return places_M.to(self.targets_N.device)


def make_batch(rows: Sequence[RowT], pad_id: int, device: torch.device) -> TokenBatch[RowT]:
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


def split_rows(rows: Sequence[RowT], tokens: int) -> list[list[RowT]]:
    """Return rows in micro-batches of at most `tokens` padded tokens, longest first, and at most 8 % of them padding.

    A row longer than the budget is a micro-batch of its own.
    """
    groups: list[list[RowT]] = []
    held = 0
    for row in sorted(rows, key=lambda row: (-len(row), row.index)):
        padded = (len(groups[-1]) + 1) * len(groups[-1][0]) if groups else 0
        if not groups or padded > tokens or padded - held - len(row) > PADDING_FRACTION * padded:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += len(row)
    return groups


def in_lockstep(batches: Sequence[list[RowT]], world: World) -> Iterator[list[RowT]]:
    """Yield this process's micro-batches, then empty ones until every process has had as many.

    Forward and backward of a sharded model are collective: a process with nothing to do still takes part.
    """
    most = int(world.maximum({"batches": float(len(batches))})["batches"])
    yield from batches
    yield from ([] for _ in range(most - len(batches)))


def idle_batch(pad_id: int, device: torch.device) -> TokenBatch[Row]:
    """Return a batch of one padding token for a process without rows; its loss is `Policy.no_loss`."""
    return make_batch([Row((pad_id,), (pad_id,), -1)], pad_id, device)
