"""Distillation loss with whole-token KL clipping [SGPO Eq. 5]."""

from __future__ import annotations

import torch

from sgpo.objectives.rows import response_mask


def clipped_kd_loss(
    kl_BT: torch.Tensor, mask_BT: torch.Tensor, delta: float | None = 1.0
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(loss_B, metrics): L_KD = (1/|o+|) sum_t 1[d_t <= delta] d_t of each row [SGPO Eq. 5].

    d_t is the full KL of a token in nats, [B, T]; |o+| counts all tokens of the row (mask 1), masked ones too.
    Tokens with d_t > delta are left out whole, not truncated: their value and gradient are exactly zero. Nothing is
    clipped per vocabulary entry, which could make the KL negative. delta None leaves nothing out. A NaN at a token
    is not hidden by the mask: the loss is NaN. B = 0 gives an empty loss.

    Metrics, to be added up over micro-batches and processes: `tokens`, `tokens_masked` (d_t > delta), `kl_mass` (sum of
    d_t before masking) and `kl_mass_masked` (the part of it that is left out).

    Raises ValueError on mismatched shapes, a row without tokens, or a delta that is not positive.
    """
    if delta is not None and not delta > 0.0:
        raise ValueError(f"delta is {delta} (expected a positive number of nats, or None for no clipping)")
    mask_BT, lengths_B = response_mask(mask_BT, kl=kl_BT)
    clipped_BT = mask_BT & (kl_BT.detach() > delta) if delta is not None else torch.zeros_like(mask_BT)
    loss_B = kl_BT.masked_fill(~mask_BT | clipped_BT, 0.0).sum(dim=1) / lengths_B
    kl_BT = kl_BT.detach()
    metrics = {
        "tokens": lengths_B.sum(),
        "tokens_masked": clipped_BT.sum().to(kl_BT.dtype),
        "kl_mass": kl_BT.masked_fill(~mask_BT, 0.0).sum(),
        "kl_mass_masked": kl_BT.masked_fill(~clipped_BT, 0.0).sum(),
    }
    return loss_B, metrics
