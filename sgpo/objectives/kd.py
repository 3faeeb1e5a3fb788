"""Distillation loss with whole-token KL clipping [SGPO Eq. 5]."""

from typing import Literal

import torch

from sgpo.objectives.shapes import check_tokens


def clipped_kd_token_losses(
    kl_N: torch.Tensor, delta: float | None = 1.0, clipping: Literal["mask", "truncate"] = "mask"
) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
    """(loss_N, metrics): 1[d_t <= delta] d_t of each token, before L_KD's sum over tokens and its 1/|o+| [SGPO Eq. 5].

    d_t is the full KL of a token in nats. The caller's |o+| counts all tokens of the response, masked ones too.
    "mask" is the paper's: tokens with d_t > delta are left out whole, value and gradient exactly zero. "truncate" is an
    option: such a token counts as delta and keeps its direction, d_t * sg[delta / d_t], so that it pulls no harder in
    proportion than its capped KL. (min(d_t, delta) would have the gradient of "mask".) Nothing is clipped per
    vocabulary entry, which could make the KL negative. delta None leaves nothing out. A NaN stays one.

    Metrics, to be added up over micro-batches and processes: `tokens`, `tokens_masked` (d_t > delta), `kl_mass` (sum of
    d_t before clipping) and `kl_mass_masked` (the part of it that is left out).

    Raises ValueError for a mismatched shape, an unknown clipping, or a delta that is not positive.
    """
    if delta is not None and not delta > 0.0:
        raise ValueError(f"delta is {delta} (expected a positive number of nats, or None for no clipping)")
    if clipping not in ("mask", "truncate"):
        raise ValueError(f"clipping is '{clipping}' (expected 'mask' or 'truncate')")
    check_tokens(kl=kl_N)
    measured_N = kl_N.detach()
    above_N = torch.zeros_like(measured_N, dtype=torch.bool) if delta is None else measured_N > delta
    if clipping == "mask" or delta is None:
        loss_N = kl_N.masked_fill(above_N, 0.0)
    else:
        loss_N = kl_N * torch.where(above_N, delta / measured_N, 1.0)
    metrics: dict[str, torch.Tensor | float] = {
        "tokens": float(len(kl_N)),
        "tokens_masked": above_N.sum(),
        "kl_mass": measured_N.sum(),
        "kl_mass_masked": (measured_N - loss_N.detach()).masked_fill(~above_N, 0.0).sum(),
    }
    return loss_N, metrics


def annealed_delta(delta: float | None, delta_end: float | None, step: int, steps: int) -> float | None:
    """Delta at `step` (from 0) of `steps`: linear from `delta` to `delta_end`; `delta` where there is no end.

    An option beside the paper's constant. Raises ValueError when there is an end but no start.
    """
    if delta_end is None:
        return delta
    if delta is None:
        raise ValueError(f"delta_end is {delta_end} but delta is None (expected a delta to start from)")
    return delta + (delta_end - delta) * min(1.0, step / max(1, steps - 1))
