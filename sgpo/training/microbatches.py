"""Rows of a step in micro-batches under the token budget, each a batch of tensors, in lockstep over the processes."""

from collections.abc import Iterator, Sequence

import torch

from sgpo.rollouts.engine import PromptTooLongError
from sgpo.training.batches import Row, RowT, TokenBatch, idle_batch, in_lockstep
from sgpo.training.layouts import layout_for
from sgpo.training.metrics import MetricSums
from sgpo.training.policy import Policy
from sgpo.training.recovery.memory import MicrobatchBudget
from sgpo.training.world import World


class Microbatches:
    """Cuts rows into micro-batches, by the layout that the model allows and the budget that its memory does."""

    def __init__(self, policy: Policy, shared_prompts: bool, budget: MicrobatchBudget, world: World, pad_id: int):
        """Take the policy, whose attention decides whether rows can share a prompt."""
        self.policy, self.budget, self.world, self.pad_id = policy, budget, world, pad_id
        self.layout = layout_for(policy.model, shared_prompts)

    def split(self, rows: Sequence[RowT], sums: MetricSums | None = None) -> Iterator[list[RowT]]:
        """Yield the rows of each micro-batch, and no rows until every process has had as many; collective.

        Adds the tokens that are computed, and those of them that are padding, to `sums`.
        """
        groups = self.layout.split(rows, self.budget.tokens)
        if sums is not None:
            for computed, padding in map(self.layout.size, groups):
                sums["padded_tokens"] += computed
                sums["padding_tokens"] += padding
        return in_lockstep(groups, self.world)

    def batch(self, rows: Sequence[RowT]) -> TokenBatch[RowT]:
        """Return a micro-batch as tensors; PromptTooLongError for a row that the model has no positions for."""
        longest = max(rows, key=len)
        limit = getattr(self.policy.model.config, "max_position_embeddings", None)
        if limit is not None and len(longest) > limit:
            raise PromptTooLongError(
                f"a prompt of {len(longest.prompt)} and a response of {len(longest.response)} tokens do not fit the "
                f"model's {limit} positions, and are not cut (expected a smaller training.sampling.max_new_tokens or "
                "shorter prompts)"
            )
        return self.layout.batch(rows, self.pad_id, self.world.device)

    def idle(self) -> TokenBatch[Row]:
        """Return what a process without rows computes, so that it takes part in the collectives of the others."""
        return idle_batch(self.pad_id, self.world.device)

    def without_gradient(
        self, rows: Sequence[RowT], sums: MetricSums | None = None
    ) -> Iterator[tuple[list[RowT], TokenBatch]]:
        """Yield rows and batch of each micro-batch, to be computed without gradient; the idle one without rows."""
        for micro_rows in self.split(rows, sums):
            with torch.no_grad():
                yield micro_rows, self.batch(micro_rows) if micro_rows else self.idle()
