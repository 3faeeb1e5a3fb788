"""LUFFY: an expert's trace as one more member of the group, with policy shaping [arXiv 2504.14945]."""

import torch

from sgpo.objectives.rows import response_mask

SHAPING = 0.1


def luffy_expert_row_losses(
    logprobs_BT: torch.Tensor, advantages_B: torch.Tensor, mask_BT: torch.Tensor, shaping: float = SHAPING
) -> torch.Tensor:
    """loss_i = -A_i sum_t f(pi_theta(y_it)) with f(x) = x / (x + shaping), [B], over the tokens of expert traces.

    f has its gradient: it raises tokens that the student finds unlikely more than pi itself would, and leaves likely
    ones alone. No ratio to a behaviour policy (its probabilities are unknown) and no clip. A_i = R_i - mean(R) over
    rollouts and trace together, without division by the deviation. The sum is for the "constant" normalisation (see
    `outer_denominator`). The group's other members are `grpo_row_losses` without clipping.

    Raises ValueError on mismatched shapes, a row without tokens, or a shaping constant that is not positive.
    """
    if not shaping > 0.0:
        raise ValueError(f"shaping is {shaping} (expected a positive number, 0.1 in LUFFY)")
    mask_BT, _ = response_mask(mask_BT, logprobs=logprobs_BT)
    if advantages_B.shape != mask_BT.shape[:1]:
        raise ValueError(f"advantages have shape {tuple(advantages_B.shape)} (expected [{mask_BT.shape[0]}])")
    probability_BT = logprobs_BT.masked_fill(~mask_BT, 0.0).exp()
    shaped_BT = probability_BT / (probability_BT + shaping)
    return -advantages_B.detach().to(logprobs_BT.dtype) * shaped_BT.masked_fill(~mask_BT, 0.0).sum(dim=1)
