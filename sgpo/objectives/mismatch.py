"""How far the sampler's probabilities are from the trainer's for the same weights."""

import torch

from sgpo.objectives.rows import response_mask


def sampler_mismatch_kl(
    trainer_logprobs_BT: torch.Tensor, sampler_logprobs_BT: torch.Tensor, mask_BT: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return sums for the k3 estimate of KL(sampler || trainer) per token in nats: mismatch_kl / mismatch_tokens.

    k3_t = r_t - 1 - log r_t with log r_t = log pi_trainer - log pi_sampler of the sampled token: never negative, and
    unbiased when tokens are drawn from the sampler's full softmax (with top-p < 1 only nearly so). A measurement: no
    gradient. Raises ValueError on mismatched shapes or a row without tokens.
    """
    mask_BT, lengths_B = response_mask(
        mask_BT, trainer_logprobs=trainer_logprobs_BT, sampler_logprobs=sampler_logprobs_BT
    )
    with torch.no_grad():
        log_ratio_BT = (trainer_logprobs_BT - sampler_logprobs_BT).masked_fill(~mask_BT, 0.0)
        # expm1 keeps the small values that matter here: exp(x) - 1 would lose them in float32.
        return {"mismatch_kl": (log_ratio_BT.expm1() - log_ratio_BT).sum(), "mismatch_tokens": lengths_B.sum()}
