"""The loss of each response token, weighed so that the sum over micro-batches and processes is the batch's loss.

What `Policy.logprob_loss` and `Policy.divergence_loss` are given. Tokens are numbered as in a `TokenBatch`, row after
row; each is a row of its own to the functions of `sgpo.objectives`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sgpo.config import ObjectiveConfig
from sgpo.objectives import (
    DivergenceLoss,
    LogprobLoss,
    clipped_kd_loss,
    grpo_row_losses,
    luffy_expert_row_losses,
    truncated_importance,
)
from sgpo.training.batches import TokenBatch


def spread(per_row: Sequence[float], batch: TokenBatch, mean: bool) -> torch.Tensor:
    """A number per row as one per token, [N]; with `mean`, divided by the row's tokens."""
    lengths = torch.tensor([len(row.response) for row in batch.rows])
    values_B = torch.tensor(per_row, dtype=torch.float64)
    values_N = (values_B / lengths if mean else values_B).repeat_interleave(lengths)
    return values_N.to(batch.targets_N.device)


def grpo_tokens(
    objective: ObjectiveConfig,
    advantages_N: torch.Tensor,
    weights_N: torch.Tensor,
    old_N: torch.Tensor | None,
    sampler_N: torch.Tensor,
    entropy_weight: float,
) -> LogprobLoss:
    """Eq. 1 token by token; `old_N` None is the current policy itself: one optimiser step per batch, ratio 1."""

    def loss(logprobs_C: torch.Tensor, entropy_C: torch.Tensor, span: slice) -> torch.Tensor:
        old_C1 = (logprobs_C.detach() if old_N is None else old_N[span])[:, None]
        one_C1 = torch.ones_like(old_C1)
        importance_C1 = None
        if objective.importance_cap is not None:
            sampler_C1 = sampler_N[span, None].to(old_C1.dtype)
            importance_C1, _ = truncated_importance(old_C1, sampler_C1, one_C1, objective.importance_cap)
        loss_C, _ = grpo_row_losses(
            logprobs_C[:, None], old_C1, advantages_N[span], one_C1, objective.clip_low, objective.clip_high, "token",
            importance_C1,
        )  # fmt: skip
        loss_C = loss_C * weights_N[span].to(loss_C.dtype)
        return loss_C - entropy_weight * entropy_C if entropy_weight else loss_C

    return loss


def luffy_tokens(objective: ObjectiveConfig, advantages_N: torch.Tensor, weights_N: torch.Tensor) -> LogprobLoss:
    """LUFFY's shaped term for the tokens of expert traces."""

    def loss(logprobs_C: torch.Tensor, entropy_C: torch.Tensor, span: slice) -> torch.Tensor:
        one_C1 = torch.ones_like(logprobs_C)[:, None]
        loss_C = luffy_expert_row_losses(logprobs_C[:, None], advantages_N[span], one_C1, objective.expert_shaping)
        return loss_C * weights_N[span].to(loss_C.dtype)

    return loss


def supervised_tokens(weights_N: torch.Tensor) -> LogprobLoss:
    """Weighted cross-entropy."""

    def loss(logprobs_C: torch.Tensor, entropy_C: torch.Tensor, span: slice) -> torch.Tensor:
        return -logprobs_C * weights_N[span].to(logprobs_C.dtype)

    return loss


def distillation_tokens(objective: ObjectiveConfig, delta: float | None, weights_N: torch.Tensor) -> DivergenceLoss:
    """Eq. 5 token by token."""

    def loss(kl_C: torch.Tensor, span: slice) -> torch.Tensor:
        loss_C, _ = clipped_kd_loss(kl_C[:, None], torch.ones_like(kl_C)[:, None], delta, objective.clipping)
        return loss_C * weights_N[span].to(kl_C.dtype)

    return loss
