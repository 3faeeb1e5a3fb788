"""Group-relative policy optimisation on the autonomous rollouts [SGPO Eq. 1]."""

import math
from collections.abc import Sequence

import torch

from sgpo.objectives.shapes import check_tokens

STD_EPSILON = 1e-6


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


def grpo_token_losses(
    logprobs_N: torch.Tensor,
    old_logprobs_N: torch.Tensor,
    advantages_N: torch.Tensor,
    clip_low: float | None = 0.2,
    clip_high: float | None = 0.28,
    importance_N: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
    """(loss_N, metrics): the term of each token of Eq. 1, before the sums over tokens and responses [SGPO Eq. 1].

    loss_t = -w_t min(rho_t A, clip(rho_t, 1 - clip_low, 1 + clip_high) A), rho_t = exp(log pi_theta - log pi_old), with
    the advantage A of the token's response.

    A bound of None does not clip. w is 1, or `importance_N` (see `truncated_importance`), a number without gradient.
    What the sums are divided by is the caller's: 1/|o_i| and 1/G1 of the response, and `outer_denominator`. The
    gradient goes to `logprobs_N` only.

    Metrics, to be added up over micro-batches and processes except the first: `ratio_max` (largest rho, 0 for no
    token), `clipped` (tokens whose clip binds, so that their gradient is 0) and `grpo_tokens`.

    Raises ValueError on mismatched shapes and clip bounds out of range.
    """
    low, high = 1.0 - (1.0 if clip_low is None else clip_low), 1.0 + (math.inf if clip_high is None else clip_high)
    if not (0.0 <= low <= 1.0 <= high):
        raise ValueError(f"clip bounds are {clip_low} and {clip_high} (expected 0 <= clip_low <= 1, 0 <= clip_high)")
    check_tokens(logprobs=logprobs_N, old_logprobs=old_logprobs_N, advantages=advantages_N)
    advantages_N = advantages_N.detach().to(logprobs_N.dtype)
    ratio_N = (logprobs_N - old_logprobs_N.detach()).exp()
    surrogate_N, clipped_N = ratio_N * advantages_N, ratio_N.clamp(low, high) * advantages_N
    loss_N = -torch.minimum(surrogate_N, clipped_N)
    if importance_N is not None:
        check_tokens(logprobs=logprobs_N, importance=importance_N)
        loss_N = loss_N * importance_N.detach()
    with torch.no_grad():
        metrics: dict[str, torch.Tensor | float] = {
            "ratio_max": ratio_N.max() if len(ratio_N) else 0.0,
            "clipped": (clipped_N < surrogate_N).sum(),
            "grpo_tokens": float(len(ratio_N)),
        }
    return loss_N, metrics
