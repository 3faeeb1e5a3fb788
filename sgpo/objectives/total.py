"""The whole objective [SGPO Eq. 7]."""

from __future__ import annotations

import torch


def sgpo_loss(grpo_loss_P: torch.Tensor, kd_loss_P: torch.Tensor, alpha_P: torch.Tensor) -> torch.Tensor:
    """L = (1/P) sum_p (L_GRPO(p) + sg[alpha(p)] L_KD(p)) over the problems of the mini-batch [SGPO Eq. 7], a scalar.

    L_KD(p) is 0 for a problem without a correct guided trajectory. alpha is a number, not a path for gradient. P = 0
    gives exactly 0. Raises ValueError unless the three have one shape [P].
    """
    if grpo_loss_P.dim() != 1 or not grpo_loss_P.shape == kd_loss_P.shape == alpha_P.shape:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (grpo_loss_P, kd_loss_P, alpha_P))
        raise ValueError(f"GRPO losses, distillation losses and alphas have shapes {shapes} (expected [P] each)")
    return (grpo_loss_P + alpha_P.detach() * kd_loss_P).sum() / max(1, grpo_loss_P.shape[0])
