"""Drawing tokens: one counter-based random number per rollout and position, then the inverse of the nucleus's CDF.

Letters: B rollouts, V vocabulary, C candidates for the nucleus, M candidates of all rows.
"""

import numpy as np
import torch

from sgpo.rollouts.engine import EngineError

SORTED_WHOLE = 4096
"""Vocabularies up to this size are sorted whole; of larger ones only the tokens that may be in the nucleus."""
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX = (-4658895280553007687, -7723592293110705685)  # the multipliers of splitmix64


def uniforms(seeds_B: torch.Tensor, position: int) -> torch.Tensor:
    """[B] float64 in [0, 1): a hash (splitmix64) of each int64 seed and the position of the token in the response.

    A rollout's randomness depends on nothing else: not on the batch it is decoded in, nor on what was drawn before.
    """
    # Python's integers do not wrap around at 64 bits as torch's do.
    offset = ((position + 1) * _GOLDEN + 2**63) % 2**64 - 2**63
    bits_B = seeds_B + offset
    for shift, multiplier in zip((30, 27), _MIX, strict=True):
        bits_B = (bits_B ^ _shift_right(bits_B, shift)) * multiplier
    bits_B = bits_B ^ _shift_right(bits_B, 31)
    return _shift_right(bits_B, 11).double() * 2.0**-53


def sample_tokens(
    logits_BV: torch.Tensor, temperature: float, top_p: float, uniforms_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(token_B, logprob_B): one token per row by inverse CDF over the nucleus.

    The nucleus is the smallest set of most probable tokens whose mass reaches `top_p`. The log-probability is under the
    full softmax at `temperature`, before top-p, as the trainer computes it. Temperature 0 takes the most probable
    token, with its log-probability at temperature 1. Raises EngineError for logits that are not finite.
    """
    # Log-probabilities of bfloat16 logits would be worth two digits.
    logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
    if temperature == 0.0:
        total_B = _finite_totals(logits_BV)
        token_B = logits_BV.argmax(dim=-1)
        return token_B, _logprobs_of(logits_BV, total_B, token_B)
    scaled_BV = logits_BV / temperature
    total_B = _finite_totals(scaled_BV)
    probabilities_BV = scaled_BV.softmax(dim=-1)
    if top_p < 1.0:
        token_B = _nucleus_draw(probabilities_BV, top_p, uniforms_B)
    else:
        token_B = _inverse_cdf(probabilities_BV, uniforms_B)
    return token_B, _logprobs_of(scaled_BV, total_B, token_B)


def _nucleus_draw(probabilities_BV: torch.Tensor, top_p: float, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse CDF over the nucleus, most probable token first, equal ones in the order of the vocabulary."""
    weights_BC, tokens_BC = probabilities_BV, None
    if probabilities_BV.shape[1] > SORTED_WHOLE:
        weights_BC, tokens_BC = _candidates(probabilities_BV, top_p)
    sorted_BC = _descending(weights_BC)
    before_BC = sorted_BC.double().cumsum(dim=-1) - sorted_BC
    rank_B = _inverse_cdf(sorted_BC.masked_fill(before_BC >= top_p, 0.0), uniforms_B)
    column_B = _column_of_rank(weights_BC, sorted_BC, rank_B)
    return column_B if tokens_BC is None else tokens_BC.gather(1, column_B[:, None]).squeeze(1)


def _candidates(probabilities_BV: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(weights_BC, tokens_BC) of every token that may be in the nucleus, C at most, in the vocabulary's order.

    All tokens below (1 - top_p) / V together weigh less than 1 - top_p, so none of them is in it. Columns of no weight
    fill up the shorter rows.
    """
    rows, vocabulary = probabilities_BV.shape
    candidate_BV = probabilities_BV >= (1.0 - top_p) / vocabulary
    # Rounding must not leave a row without its most probable token.
    candidate_BV.scatter_(1, probabilities_BV.argmax(dim=1, keepdim=True), True)
    row_M, token_M = candidate_BV.nonzero(as_tuple=True)
    column_M = candidate_BV.cumsum(dim=1)[row_M, token_M] - 1
    widest = int(column_M.max()) + 1
    weights_BC = probabilities_BV.new_zeros(rows, widest)
    weights_BC[row_M, column_M] = probabilities_BV[row_M, token_M]
    tokens_BC = torch.zeros(rows, widest, dtype=torch.int64, device=probabilities_BV.device)
    tokens_BC[row_M, column_M] = token_M
    return weights_BC, tokens_BC


def _descending(weights_BC: torch.Tensor) -> torch.Tensor:
    """Each row's values, the largest first. On a CPU numpy sorts values alone, twenty times as fast as torch's sort."""
    if weights_BC.device.type != "cpu":
        return weights_BC.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(weights_BC.numpy(), axis=-1)).flip(-1)


def _column_of_rank(weights_BC: torch.Tensor, sorted_BC: torch.Tensor, rank_B: torch.Tensor) -> torch.Tensor:
    """Where the value of this rank stands; the ranks of equal values go by their columns."""
    value_B1 = sorted_BC.gather(1, rank_B[:, None])
    among_equals_B1 = rank_B[:, None] - (weights_BC > value_B1).sum(dim=1, keepdim=True)
    equal_BC = weights_BC == value_B1
    place_BC = equal_BC.cumsum(dim=1, dtype=torch.int32)
    return (equal_BC & (place_BC == among_equals_B1 + 1)).int().argmax(dim=1)


def _inverse_cdf(weights_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    cumulative_BV = weights_BV.double().cumsum(dim=-1)
    # Strictly below the total, so that rounding never lands on a token of no weight behind the last one kept.
    threshold_B1 = (uniforms_B[:, None] * cumulative_BV[:, -1:]).clamp_max(cumulative_BV[:, -1:] * (1.0 - 2.0**-52))
    return torch.searchsorted(cumulative_BV, threshold_B1, right=True).squeeze(1)


def _finite_totals(logits_BV: torch.Tensor) -> torch.Tensor:
    """Return the log of each row's sum of exponentials: NaN or infinite where a logit is NaN or positive infinity."""
    total_B = logits_BV.logsumexp(dim=-1)
    if spoilt := int((~total_B.isfinite()).sum()):
        raise EngineError(
            f"the policy's logits are not finite for {spoilt} of {len(total_B)} rollouts (expected finite weights)"
        )
    return total_B


def _logprobs_of(logits_BV: torch.Tensor, total_B: torch.Tensor, token_B: torch.Tensor) -> torch.Tensor:
    return logits_BV.gather(1, token_B[:, None]).squeeze(1) - total_B


def _shift_right(bits_B: torch.Tensor, places: int) -> torch.Tensor:
    """Logical shift of int64 bits: torch's own keeps the sign."""
    return (bits_B >> places) & ((1 << (64 - places)) - 1)
