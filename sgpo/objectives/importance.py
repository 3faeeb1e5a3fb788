"""Correction for a sampler whose probabilities are not the trainer's (another precision, other kernels)."""

import torch

from sgpo.objectives.rows import response_mask


def truncated_importance(
    old_logprobs_BT: torch.Tensor, sampler_logprobs_BT: torch.Tensor, mask_BT: torch.Tensor, cap: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(weights_BT, metrics): w_it = min(pi_old(o_it) / pi_sampler(o_it), cap), 0 where there is no token.

    pi_old is the trainer's own probability of the sampled token under the weights that sampled it, pi_sampler the
    sampler's; both of the full softmax at the sampling temperature. The weights multiply the loss of `grpo_row_losses`
    and carry no gradient; the cap bounds their variance. docs/method.md section 11 leaves this open; off by default.

    Metrics, to be added up: `importance_capped`, the tokens whose weight is the cap.

    Raises ValueError on mismatched shapes, a row without tokens, or a cap that is not positive.
    """
    if not cap > 0.0:
        raise ValueError(f"cap is {cap} (expected a positive number, or no correction at all)")
    mask_BT, _ = response_mask(mask_BT, old_logprobs=old_logprobs_BT, sampler_logprobs=sampler_logprobs_BT)
    with torch.no_grad():
        ratio_BT = (old_logprobs_BT - sampler_logprobs_BT).masked_fill(~mask_BT, 0.0).exp()
        capped_BT = mask_BT & (ratio_BT > cap)
        weights_BT = ratio_BT.clamp_max(cap).masked_fill(~mask_BT, 0.0)
        return weights_BT, {"importance_capped": capped_BT.sum().to(weights_BT.dtype)}
