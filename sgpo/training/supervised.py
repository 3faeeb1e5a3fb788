"""Supervised training on fixed responses: the SFT warm-up before RL, and the testbed's base model.

The loss is the mean cross-entropy over response tokens, optionally weighted by token.
"""

from collections.abc import Sequence

import torch

from sgpo.algorithms.rows import Row
from sgpo.algorithms.sft import cross_entropy
from sgpo.training.batches import idle_batch, in_lockstep, make_batch, split_rows
from sgpo.training.policy import Policy
from sgpo.training.world import World


def supervised_gradient(
    policy: Policy,
    rows: Sequence[Row],
    tokens_per_microbatch: int,
    world: World,
    pad_id: int,
    token_weights_V: torch.Tensor | None = None,
) -> float:
    """Accumulate the gradient of the mean loss over all response tokens of all processes; returns the loss.

    `token_weights_V` weighs a position by the token it should predict. `rows` are this process's shard.
    """
    total = world.sum({"weight": sum(_weight(row, token_weights_V) for row in rows)})["weight"]
    loss_sum = 0.0
    for micro_rows in in_lockstep(split_rows(rows, tokens_per_microbatch), world):
        if not micro_rows:
            policy.no_loss(idle_batch(pad_id, world.device)).backward()
            continue
        batch = make_batch(micro_rows, pad_id, world.device)
        weights_N = torch.ones_like(batch.targets_N, dtype=torch.float64)
        if token_weights_V is not None:
            weights_N = token_weights_V.to(batch.targets_N.device)[batch.targets_N]
        weights_N = weights_N / total
        loss = policy.logprob_loss(
            batch, lambda logp_C, _, span, w_N=weights_N: cross_entropy(logp_C, w_N[span].to(logp_C.dtype))
        )
        loss.backward()
        loss_sum += float(loss.detach())
    return world.sum({"loss": loss_sum})["loss"]


@torch.no_grad()
def supervised_loss(
    policy: Policy, rows: Sequence[Row], tokens_per_microbatch: int, world: World, pad_id: int
) -> float:
    """Return the mean cross-entropy per response token over the rows of all processes."""
    loss_sum, tokens = 0.0, 0.0
    for micro_rows in in_lockstep(split_rows(rows, tokens_per_microbatch), world):
        batch = make_batch(micro_rows, pad_id, world.device) if micro_rows else idle_batch(pad_id, world.device)
        logprobs_BR = policy.logprobs(batch)
        if micro_rows:
            loss_sum -= float(logprobs_BR.double().sum())
            tokens += float(batch.mask_BR.sum())
    sums = world.sum({"loss": loss_sum, "tokens": tokens})
    return sums["loss"] / max(1.0, sums["tokens"])


def _weight(row: Row, token_weights_V: torch.Tensor | None) -> float:
    if token_weights_V is None:
        return float(len(row.response))
    return float(token_weights_V[torch.tensor(row.response)].sum())
