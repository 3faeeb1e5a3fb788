"""How far the sampler's probabilities are from the trainer's for the same weights."""

import torch

from sgpo.objectives.shapes import check_tokens


def sampler_mismatch_kl(
    trainer_logprobs_N: torch.Tensor, sampler_logprobs_N: torch.Tensor
) -> dict[str, torch.Tensor | float]:
    """Return sums for the k3 estimate of KL(sampler || trainer) per token in nats: mismatch_kl / mismatch_tokens.

    k3_t = r_t - 1 - log r_t with log r_t = log pi_trainer - log pi_sampler of the sampled token: never negative, and
    unbiased when tokens are drawn from the sampler's full softmax (with top-p < 1 only nearly so). A measurement: no
    gradient. Raises ValueError on mismatched shapes.
    """
    check_tokens(trainer_logprobs=trainer_logprobs_N, sampler_logprobs=sampler_logprobs_N)
    with torch.no_grad():
        log_ratio_N = trainer_logprobs_N - sampler_logprobs_N
        # expm1 keeps the small values that matter here: exp(x) - 1 would lose them in float32.
        return {"mismatch_kl": (log_ratio_N.expm1() - log_ratio_N).sum(), "mismatch_tokens": float(len(log_ratio_N))}
