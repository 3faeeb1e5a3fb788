"""Correction for a sampler whose probabilities are not the trainer's (another precision, other kernels)."""

import torch

from sgpo.objectives.shapes import check_tokens


def truncated_importance(
    old_logprobs_N: torch.Tensor, sampler_logprobs_N: torch.Tensor, cap: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
    """(weights_N, metrics): w_t = min(pi_old(o_t) / pi_sampler(o_t), cap) of each sampled token.

    pi_old is the trainer's own probability of the sampled token under the weights that sampled it, pi_sampler the
    sampler's; both of the full softmax at the sampling temperature. The weights multiply `grpo_token_losses` and carry
    no gradient; the cap bounds their variance. docs/method.md section 11 leaves this open; off by default.

    Metrics, to be added up: `importance_capped`, the tokens whose weight is the cap.

    Raises ValueError on mismatched shapes, or a cap that is not positive.
    """
    if not cap > 0.0:
        raise ValueError(f"cap is {cap} (expected a positive number, or no correction at all)")
    check_tokens(old_logprobs=old_logprobs_N, sampler_logprobs=sampler_logprobs_N)
    with torch.no_grad():
        ratio_N = (old_logprobs_N - sampler_logprobs_N).exp()
        return ratio_N.clamp_max(cap), {"importance_capped": (ratio_N > cap).sum()}
