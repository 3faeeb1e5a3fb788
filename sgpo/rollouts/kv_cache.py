"""A key-value cache for sampling: preallocated, written in place, and able to drop rows that have finished."""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class PreallocatedLayer(CacheLayerMixin):
    """One layer's keys and values [B, heads, capacity, head_dim], of which the first `length` columns are written."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(batch, heads, self.capacity, size)
        self.values = value_states.new_empty(batch, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def take_rows(self, rows: torch.Tensor) -> None:
        """Keep, repeat or reorder rows."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = self._taken(self.keys, rows), self._taken(self.values, rows)

    def _taken(self, tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        taken = tensor.new_empty(len(rows), *tensor.shape[1:])
        # Only the columns that are written are worth copying.
        taken[:, :, : self.length] = tensor[rows, :, : self.length]
        return taken

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

    def take_rows(self, rows: torch.Tensor) -> None:
        """Keep, repeat or reorder the rows of every layer."""
        for layer in self.layers:
            layer.take_rows(rows)  # type: ignore[attr-defined]
