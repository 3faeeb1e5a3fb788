"""Decoding steps as CUDA graphs: the host starts one graph for a token, and not the hundreds of kernels of its layers.

A graph has fixed shapes. It computes all rows that were there when it was captured, and attends to as many columns of
the responses as it was captured for, those not written yet under a mask; the next one has twice as many.
"""

import logging
from collections.abc import Callable
from typing import ClassVar

import torch

from sgpo.errors import first_line
from sgpo.rollouts.kv_cache import PreallocatedCache
from sgpo.rollouts.shared_prompts import SharedPromptCache

logger = logging.getLogger(__name__)

FIRST_COLUMNS = 64
"""Columns that the first graph attends to."""

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(token_B, position_B) -> hidden_BD, which writes the tokens' keys and values to the cache."""


class GraphedSteps:
    """Decoding steps of a fixed set of rows on a GPU; where capturing fails they are computed as they are.

    A process does not try again what has failed in it: a size that did not fit the memory, with all that are larger, or
    after any other failure all graphs.
    """

    works = True
    too_large: ClassVar[list[tuple[int, int]]] = []
    """(rows, columns) of graphs for which the memory did not suffice."""

    def __init__(self, forward: Forward, prompts: SharedPromptCache, cache: PreallocatedCache) -> None:
        """Take the forward of one token per row, and the caches that it reads and writes."""
        self._forward, self._prompts, self._cache = forward, prompts, cache
        cache.fill_with_zeros()
        self._replay: Callable[[], None] | None = None
        self._inputs: tuple[torch.Tensor, ...] = ()
        self._columns = 0
        self._hidden_BD = torch.empty(0)

    def forget(self) -> None:
        """Say that the rows have changed: the next step is captured anew."""
        self._replay = None

    def step(self, token_B: torch.Tensor, position_B: torch.Tensor, column: int) -> torch.Tensor:
        """Return the hidden states of tokens that stand at `column` of their responses, [B, D]."""
        if column >= self._columns:
            self._replay = None
        if self._replay is None and GraphedSteps.works:
            self._prepare(token_B, position_B, column)
        if self._replay is None:
            self._write_behind(column)
            return self._forward(token_B, position_B)
        values = token_B, position_B, torch.tensor([column])
        for buffer, value in zip(self._inputs, values, strict=True):
            buffer.copy_(value)
        self._replay()
        self._cache.set_length(column + 1)
        return self._hidden_BD

    def _prepare(self, token_B: torch.Tensor, position_B: torch.Tensor, column: int) -> None:
        rows, columns = len(token_B), FIRST_COLUMNS
        while columns <= column:
            columns *= 2
        if any(rows >= least_rows and columns >= least for least_rows, least in GraphedSteps.too_large):
            return
        column_1 = torch.tensor([column], device=token_B.device)
        self._inputs, self._columns = (token_B.clone(), position_B.clone(), column_1), columns
        self._prompts.column_1 = column_1
        self._cache.write_at(column_1, columns)
        try:
            self._replay = self._captured(*self._inputs[:2])
        except RuntimeError as error:
            reason = first_line(error, 200)
            if _is_out_of_memory(error):
                GraphedSteps.too_large.append((rows, columns))
                what = f"a CUDA graph of {rows} rows and {columns} columns does not fit the memory ({reason}): decoding"
                logger.warning("%s is slower at this size and above", what)
            else:
                GraphedSteps.works = False
                logger.warning("decoding cannot be captured as a CUDA graph (%s): it is slower", reason)
        if self._replay is None:  # now that the error no longer keeps what the capture had allocated
            self._inputs, self._hidden_BD = (), torch.empty(0)
            torch.cuda.empty_cache()

    def _write_behind(self, column: int) -> None:
        """Let a step that no graph computes write at `column`, the last one, whatever was captured before."""
        self._prompts.column_1 = None
        self._cache.write_at(None, 0)
        self._cache.set_length(column)

    def _captured(self, token_B: torch.Tensor, position_B: torch.Tensor) -> Callable[[], None]:
        """Return what computes `_hidden_BD` again from what these tensors hold then."""
        self._forward(token_B, position_B)  # libraries load their kernels; what it writes is written again
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # A trainer in another thread may allocate meanwhile. The outer stream is there again after a capture that
        # failed, too: torch leaves its own in place then.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._hidden_BD = self._forward(token_B, position_B)
        return graph.replay


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one during whose handling it was raised, is that the memory did not suffice."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error is not None
