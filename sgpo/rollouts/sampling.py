"""Drawing tokens: one counter-based random number per rollout and position, then the inverse of the nucleus's CDF.

Letters: B rollouts, R of them, V vocabulary, C columns that are looked at, K blocks of columns.
"""

import numpy as np
import torch

from sgpo.rollouts.engine import EngineError

SORTED_WHOLE = 4096
"""Vocabularies up to this size are sorted whole; of larger ones first the most probable words alone."""
LEADING = (256, 4096)
"""So many of the most probable words are looked at, in turn, until the nucleus is among them."""
BLOCK = 128
"""Columns whose weights are added up before the sums are compared with a draw, when there is no nucleus."""
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
    scaled_BV = logits_BV if temperature in (0.0, 1.0) else logits_BV / temperature
    probabilities_BV = scaled_BV.softmax(dim=-1)
    _check_finite(probabilities_BV)
    if temperature == 0.0:
        token_B = logits_BV.argmax(dim=-1)
    elif top_p < 1.0:
        token_B = _nucleus_draw(probabilities_BV, top_p, uniforms_B)
    else:
        token_B = _whole_draw(probabilities_BV, uniforms_B)
    # The kernel's sum of tens of thousands of exponentials is good to five digits, that of `sum` to seven.
    return token_B, (probabilities_BV.gather(1, token_B[:, None]).squeeze(1) / probabilities_BV.sum(dim=-1)).log()


def _nucleus_draw(probabilities_BV: torch.Tensor, top_p: float, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse CDF over the nucleus, most probable token first, equal ones in the order of the vocabulary.

    How many words were looked at to find the nucleus makes no difference to what is drawn.
    """
    vocabulary = probabilities_BV.shape[1]
    token_B = torch.zeros(len(probabilities_BV), dtype=torch.int64, device=probabilities_BV.device)
    open_B = torch.arange(len(probabilities_BV), device=probabilities_BV.device)
    for leading in LEADING if vocabulary > SORTED_WHOLE else ():
        rows_RV = probabilities_BV if len(open_B) == len(probabilities_BV) else probabilities_BV[open_B]
        weights_RC, column_RC = rows_RV.topk(min(leading, vocabulary), dim=1)
        rank_R, mass_R = _rank_in_nucleus(weights_RC, top_p, uniforms_B[open_B])
        value_R1 = weights_RC.gather(1, rank_R[:, None])
        # Equal words have no order among the leading ones, and those behind the last one may be missing.
        found_R = (mass_R >= top_p) & (value_R1 > weights_RC[:, -1:]).squeeze(1)
        token_B[open_B] = _column_of_rank(weights_RC, value_R1, rank_R, column_RC)
        open_B = open_B[~found_R]
        if len(open_B) == 0:
            return token_B
    rows_RV = probabilities_BV[open_B]
    sorted_RV = _descending(rows_RV)
    rank_R, _ = _rank_in_nucleus(sorted_RV, top_p, uniforms_B[open_B])
    token_B[open_B] = _column_of_rank(rows_RV, sorted_RV.gather(1, rank_R[:, None]), rank_R)
    return token_B


def _rank_in_nucleus(
    sorted_BC: torch.Tensor, top_p: float, uniforms_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the drawn rank among weights in descending order, and the mass of all of them, in float64."""
    cumulative_BC = sorted_BC.double().cumsum(dim=-1)
    kept_BC = sorted_BC.masked_fill(cumulative_BC - sorted_BC >= top_p, 0.0)
    return _inverse_cdf(kept_BC, uniforms_B), cumulative_BC[:, -1]


def _descending(weights_BC: torch.Tensor) -> torch.Tensor:
    """Each row's values, the largest first. On a CPU numpy sorts values alone, twenty times as fast as torch's sort."""
    if weights_BC.device.type != "cpu":
        return weights_BC.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(weights_BC.numpy(), axis=-1)).flip(-1)


def _column_of_rank(
    weights_BC: torch.Tensor, value_B1: torch.Tensor, rank_B: torch.Tensor, column_BC: torch.Tensor | None = None
) -> torch.Tensor:
    """Where the value of this rank stands; the ranks of equal values go by their columns, `column_BC` or in order."""
    among_equals_B1 = rank_B[:, None] - (weights_BC > value_B1).sum(dim=1, keepdim=True)
    equal_BC = weights_BC == value_B1
    if column_BC is not None:
        behind = torch.iinfo(torch.int64).max
        return column_BC.masked_fill(~equal_BC, behind).sort(dim=1).values.gather(1, among_equals_B1).squeeze(1)
    place_BC = equal_BC.cumsum(dim=1, dtype=torch.int32)
    return (equal_BC & (place_BC == among_equals_B1 + 1)).int().argmax(dim=1)


def _whole_draw(weights_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    """Inverse CDF in the order of the vocabulary: first the block of columns, by its float64 sum, then the column."""
    vocabulary = weights_BV.shape[1]
    if vocabulary <= SORTED_WHOLE:
        return _inverse_cdf(weights_BV, uniforms_B)
    whole = vocabulary // BLOCK * BLOCK
    sums_BK = weights_BV[:, :whole].unflatten(1, (-1, BLOCK)).sum(dim=2, dtype=torch.float64)
    sums_BK = torch.cat([sums_BK, weights_BV[:, whole:].sum(dim=1, keepdim=True, dtype=torch.float64)], dim=1)
    cumulative_BK = sums_BK.cumsum(dim=1)
    threshold_B1 = _thresholds(cumulative_BK, uniforms_B)
    block_B1 = torch.searchsorted(cumulative_BK, threshold_B1, right=True)
    before_B1 = cumulative_BK.gather(1, block_B1) - sums_BK.gather(1, block_B1)
    column_BC = block_B1 * BLOCK + torch.arange(BLOCK, device=weights_BV.device)
    inside_BC = weights_BV.gather(1, column_BC.clamp_max(vocabulary - 1)).double()
    inside_BC = inside_BC.masked_fill(column_BC >= vocabulary, 0.0).cumsum(dim=1)
    # Rounding must not lead out of the block, nor to a column of no weight behind its last one.
    left_B1 = (threshold_B1 - before_B1).clamp(min=0.0).minimum(inside_BC[:, -1:] * (1.0 - 2.0**-52))
    return column_BC.gather(1, torch.searchsorted(inside_BC, left_B1, right=True)).squeeze(1)


def _inverse_cdf(weights_BV: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    cumulative_BV = weights_BV.double().cumsum(dim=-1)
    return torch.searchsorted(cumulative_BV, _thresholds(cumulative_BV, uniforms_B), right=True).squeeze(1)


def _thresholds(cumulative_BC: torch.Tensor, uniforms_B: torch.Tensor) -> torch.Tensor:
    # Strictly below the total, so that rounding never lands on a token of no weight behind the last one kept.
    return (uniforms_B[:, None] * cumulative_BC[:, -1:]).clamp_max(cumulative_BC[:, -1:] * (1.0 - 2.0**-52))


def _check_finite(probabilities_BV: torch.Tensor) -> None:
    """Raise EngineError where a logit is NaN or positive infinity: the softmax of its row is then NaN throughout."""
    if spoilt := int(probabilities_BV[:, 0].isnan().sum()):
        raise EngineError(
            f"the policy's logits are not finite for {spoilt} of {len(probabilities_BV)} rollouts "
            "(expected finite weights)"
        )


def _shift_right(bits_B: torch.Tensor, places: int) -> torch.Tensor:
    """Logical shift of int64 bits: torch's own keeps the sign."""
    return (bits_B >> places) & ((1 << (64 - places)) - 1)
