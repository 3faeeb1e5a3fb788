"""LUFFY: an expert's trace as one more member of the group, with policy shaping [arXiv 2504.14945]."""

import torch

from sgpo.objectives.shapes import check_tokens

SHAPING = 0.1


def luffy_expert_token_losses(
    logprobs_N: torch.Tensor, advantages_N: torch.Tensor, shaping: float = SHAPING
) -> torch.Tensor:
    """loss_t = -A f(pi_theta(y_t)) with f(x) = x / (x + shaping), [N], of the tokens of expert traces.

    f has its gradient: it raises tokens that the student finds unlikely more than pi itself would, and leaves likely
    ones alone. No ratio to a behaviour policy (its probabilities are unknown) and no clip. A = R - mean(R) of the trace
    in its group of rollouts and trace together, without division by the deviation. LUFFY divides the sum over tokens by
    a constant (`outer_denominator`). The group's other members are `grpo_token_losses` without clipping.

    Raises ValueError on mismatched shapes, or a shaping constant that is not positive.
    """
    if not shaping > 0.0:
        raise ValueError(f"shaping is {shaping} (expected a positive number, 0.1 in LUFFY)")
    check_tokens(logprobs=logprobs_N, advantages=advantages_N)
    probability_N = logprobs_N.exp()
    return -advantages_N.detach().to(logprobs_N.dtype) * (probability_N / (probability_N + shaping))
