"""A key-value cache for sampling: preallocated, written in place, and able to drop rows that have finished."""

from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class PreallocatedLayer(CacheLayerMixin):
    """One layer's keys and values [B, heads, capacity, head_dim], of which the first `length` columns are written.

    A layer told where to write (`column_1`, [1] on the device) writes there, and shows its first `columns`.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0
        self.column_1: torch.Tensor | None = None
        self.columns = 0
        self.zeroed = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, size = key_states.shape
        new = torch.Tensor.new_zeros if self.zeroed else torch.Tensor.new_empty
        self.keys = new(key_states, (batch, heads, self.capacity, size))
        self.values = new(value_states, (batch, heads, self.capacity, value_states.shape[-1]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        if self.column_1 is not None:
            self.keys.index_copy_(2, self.column_1, key_states)
            self.values.index_copy_(2, self.column_1, value_states)
            return self.keys[:, :, : self.columns], self.values[:, :, : self.columns]
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def compact(self, kept: "Compaction") -> None:
        """Drop rows: the last ones that are kept move to the places of those that are not; no memory is freed."""
        assert self.keys is not None
        assert self.values is not None
        for tensor in (self.keys, self.values):
            # Only the columns that are written are worth copying.
            tensor[kept.free, :, : self.length] = tensor[kept.moved, :, : self.length]
        self.keys, self.values = self.keys[: len(kept.order)], self.values[: len(kept.order)]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class PreallocatedCache(Cache):
    """A cache of `layers` preallocated layers for transformers' models."""

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[PreallocatedLayer(capacity) for _ in range(layers)])

    def fill_with_zeros(self) -> None:
        """Let every layer begin as zeros: what is shown before it is written must be numbers (0 times NaN is NaN)."""
        for layer in self.layers:
            layer.zeroed = True  # type: ignore[attr-defined]

    def write_at(self, column_1: torch.Tensor | None, columns: int) -> None:
        """Let every layer write at the column in `column_1`, [1], and show `columns` of them; None: behind the last."""
        for layer in self.layers:
            layer.column_1, layer.columns = column_1, columns  # type: ignore[attr-defined]

    def set_length(self, length: int) -> None:
        """Say that so many columns are written."""
        for layer in self.layers:
            layer.length = length  # type: ignore[attr-defined]

    def compact(self, kept: "Compaction") -> None:
        """Drop rows of every layer."""
        for layer in self.layers:
            layer.compact(kept)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Compaction:
    """Rows that stay, moved together by as few copies as there are: those at `moved` go to the places `free`.

    `order` has the rows that stay, in their new order.
    """

    free: torch.Tensor
    moved: torch.Tensor
    order: torch.Tensor

    @staticmethod
    def of(kept_B: torch.Tensor) -> "Compaction":
        """Return how the rows marked in `kept_B` come to stand first."""
        count = int(kept_B.sum())
        free = (~kept_B[:count]).nonzero().squeeze(1)
        moved = kept_B[count:].nonzero().squeeze(1) + count
        order = torch.arange(count, device=kept_B.device)
        order[free] = moved
        return Compaction(free, moved, order)
