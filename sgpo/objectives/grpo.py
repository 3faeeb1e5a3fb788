"""Group-relative policy optimisation on the autonomous rollouts [SGPO Eq. 1]."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch

from sgpo.objectives.rows import response_mask

STD_EPSILON = 1e-6
Normalization = Literal["sequence", "token", "constant"]


def group_advantages(rewards_G: torch.Tensor | Sequence[float], normalize_std: bool = True) -> torch.Tensor:
    """A_i = (R_i - mean(R)) / (std(R) + 1e-6) within a group [SGPO Eq. 1], [G]; [P, G] is taken as P groups.

    std is the sample standard deviation (divisor G - 1), as in veRL, which the paper trained with; the paper does not
    say. The population one (divisor G) would make advantages larger by sqrt(G / (G - 1)): 7 % for G = 8.
    Without `normalize_std`, A_i = R_i - mean(R). Equal rewards, and a group of one, give exactly 0, hence no gradient.

    Raises ValueError for an empty group and for rewards that are not finite.
    """
    if not isinstance(rewards_G, torch.Tensor):
        rewards_G = torch.tensor(rewards_G, dtype=torch.float64)
    if rewards_G.dim() not in (1, 2) or rewards_G.shape[-1] == 0:
        raise ValueError(f"rewards have shape {tuple(rewards_G.shape)} (expected [G] or [P, G] with G of at least 1)")
    rewards_G = rewards_G.detach() if rewards_G.is_floating_point() else rewards_G.to(torch.float32)
    if not bool(rewards_G.isfinite().all()):
        raise ValueError(f"rewards are not all finite: {rewards_G.tolist()}")
    advantages_G = rewards_G - rewards_G.mean(dim=-1, keepdim=True)
    if normalize_std and rewards_G.shape[-1] > 1:
        advantages_G = advantages_G / (rewards_G.std(dim=-1, keepdim=True, correction=1) + STD_EPSILON)
    # The mean of equal rewards may differ from them in the last bit, which the division would blow up.
    equal_G = rewards_G == rewards_G[..., :1]
    return advantages_G.masked_fill(equal_G.all(dim=-1, keepdim=True), 0.0)


def grpo_row_losses(
    logprobs_BT: torch.Tensor,
    old_logprobs_BT: torch.Tensor,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
    clip_low: float | None = 0.2,
    clip_high: float | None = 0.28,
    normalization: Normalization = "sequence",
    importance_BT: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(loss_B, metrics): the inner sum of Eq. 1 for each response i [SGPO Eq. 1].

    loss_i = -(1/|o_i|) sum_t w_it min(rho_it A_i, clip(rho_it, 1 - clip_low, 1 + clip_high) A_i),
    rho_it = exp(log pi_theta - log pi_old), over the |o_i| positions where the mask is 1.

    A bound of None does not clip. w is 1, or `importance_BT` (see `truncated_importance`), a number without gradient.
    "sequence" is as written; "token" and "constant" leave 1/|o_i| out, for a caller who divides by the tokens of the
    whole batch, or by a constant length. Either way the outer denominator is the caller's (`outer_denominator`), and
    must be that of the whole batch, not of the micro-batch. The gradient goes to `logprobs_BT` only; B = 0 gives an
    empty loss.

    Metrics, to be added up over micro-batches and processes except the first: `ratio_max` (largest rho, 0 for no row),
    `clipped` (tokens whose clip binds, so that their gradient is 0) and `grpo_tokens`.

    Raises ValueError on mismatched shapes, a row without tokens, clip bounds out of range, an unknown normalization.
    """
    if normalization not in get_args(Normalization):
        raise ValueError(f"normalization is '{normalization}' (expected one of {', '.join(get_args(Normalization))})")
    low, high = 1.0 - (1.0 if clip_low is None else clip_low), 1.0 + (math.inf if clip_high is None else clip_high)
    if not (0.0 <= low <= 1.0 <= high):
        raise ValueError(f"clip bounds are {clip_low} and {clip_high} (expected 0 <= clip_low <= 1, 0 <= clip_high)")
    mask_BT, lengths_B = response_mask(mask_BT, logprobs=logprobs_BT, old_logprobs=old_logprobs_BT)
    if advantages_B.shape != mask_BT.shape[:1]:
        raise ValueError(f"advantages have shape {tuple(advantages_B.shape)} (expected [{mask_BT.shape[0]}])")
    advantages_B1 = advantages_B.detach().to(logprobs_BT.dtype)[:, None]
    # Padding may hold anything: it is taken out before exp, so that neither value nor gradient can be NaN there.
    ratio_BT = (logprobs_BT - old_logprobs_BT.detach()).masked_fill(~mask_BT, 0.0).exp()
    surrogate_BT = ratio_BT * advantages_B1
    clipped_BT = ratio_BT.clamp(low, high) * advantages_B1
    loss_BT = -torch.minimum(surrogate_BT, clipped_BT)
    if importance_BT is not None:
        if importance_BT.shape != mask_BT.shape:
            raise ValueError(f"importance has shape {tuple(importance_BT.shape)} (expected {tuple(mask_BT.shape)})")
        loss_BT = loss_BT * importance_BT.detach()
    loss_B = loss_BT.masked_fill(~mask_BT, 0.0).sum(dim=1)
    if normalization == "sequence":
        loss_B = loss_B / lengths_B
    with torch.no_grad():
        metrics = {
            "ratio_max": ratio_BT[mask_BT].max() if mask_BT.shape[0] else ratio_BT.new_zeros(()),
            "clipped": (mask_BT & (clipped_BT < surrogate_BT)).sum().to(loss_B.dtype),
            "grpo_tokens": lengths_B.sum(),
        }
    return loss_B, metrics


def outer_denominator(
    normalization: Normalization, responses: float, tokens: float, constant_length: float | None = None
) -> float:
    """Return what the sum of `grpo_row_losses` over a whole batch is divided by; at least 1, so that nothing gives 0.

    "sequence" [SGPO Eq. 1]: the responses, P G1; "token" (DAPO, veRL's token-mean): their tokens; "constant" (Dr. GRPO,
    LUFFY): responses times `constant_length`, so that a long response weighs more than a short one.

    Raises ValueError for "constant" without a positive length.
    """
    if normalization == "token":
        return max(1.0, tokens)
    if normalization == "sequence":
        return max(1.0, responses)
    if constant_length is None or not constant_length > 0:
        raise ValueError(f"constant_length is {constant_length} (expected a positive number of tokens for 'constant')")
    return max(1.0, responses) * constant_length
