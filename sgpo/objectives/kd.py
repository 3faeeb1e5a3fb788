"""Distillation loss with whole-token KL clipping [SGPO Eq. 5]."""

from typing import Literal

import torch

from sgpo.objectives.rows import response_mask


def clipped_kd_loss(
    kl_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    delta: float | None = 1.0,
    clipping: Literal["mask", "truncate"] = "mask",
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(loss_B, metrics): L_KD = (1/|o+|) sum_t 1[d_t <= delta] d_t of each row [SGPO Eq. 5].

    d_t is the full KL of a token in nats, [B, T]; |o+| counts all tokens of the row (mask 1), masked ones too.
    "mask" is the paper's: tokens with d_t > delta are left out whole, value and gradient exactly zero. "truncate" is an
    option: such a token counts as delta and keeps its direction, d_t * sg[delta / d_t], so that it pulls no harder in
    proportion than its capped KL. (min(d_t, delta) would have the gradient of "mask".) Nothing is clipped per
    vocabulary entry, which could make the KL negative. delta None leaves nothing out. A NaN at a token is not hidden
    by the mask: the loss is NaN. B = 0 gives an empty loss.

    Metrics, to be added up over micro-batches and processes: `tokens`, `tokens_masked` (d_t > delta), `kl_mass` (sum of
    d_t before clipping) and `kl_mass_masked` (the part of it that is left out).

    Raises ValueError on mismatched shapes, a row without tokens, an unknown clipping, or a delta that is not positive.
    """
    if delta is not None and not delta > 0.0:
        raise ValueError(f"delta is {delta} (expected a positive number of nats, or None for no clipping)")
    if clipping not in ("mask", "truncate"):
        raise ValueError(f"clipping is '{clipping}' (expected 'mask' or 'truncate')")
    mask_BT, lengths_B = response_mask(mask_BT, kl=kl_BT)
    measured_BT = kl_BT.detach().masked_fill(~mask_BT, 0.0)
    above_BT = measured_BT > delta if delta is not None else torch.zeros_like(mask_BT)
    if clipping == "mask" or delta is None:
        kept_BT = kl_BT.masked_fill(~mask_BT | above_BT, 0.0)
    else:
        share_BT = torch.where(above_BT, delta / measured_BT, 1.0)
        kept_BT = kl_BT.masked_fill(~mask_BT, 0.0) * share_BT
    metrics = {
        "tokens": lengths_B.sum(),
        "tokens_masked": above_BT.sum().to(measured_BT.dtype),
        "kl_mass": measured_BT.sum(),
        "kl_mass_masked": (measured_BT - kept_BT.detach()).masked_fill(~above_BT, 0.0).sum(),
    }
    return kept_BT.sum(dim=1) / lengths_B, metrics


def annealed_delta(delta: float | None, delta_end: float | None, step: int, steps: int) -> float | None:
    """Delta at `step` (from 0) of `steps`: linear from `delta` to `delta_end`; `delta` where there is no end.

    An option beside the paper's constant. Raises ValueError when there is an end but no start.
    """
    if delta_end is None:
        return delta
    if delta is None:
        raise ValueError(f"delta_end is {delta_end} but delta is None (expected a delta to start from)")
    return delta + (delta_end - delta) * min(1.0, step / max(1, steps - 1))
