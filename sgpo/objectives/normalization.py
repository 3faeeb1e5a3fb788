"""What a batch's sum over tokens is divided by. No torch: settings and flows read it."""

from typing import Literal

Normalization = Literal["sequence", "token", "constant"]


def outer_denominator(
    normalization: Normalization, responses: float, tokens: float, constant_length: float | None = None
) -> float:
    """Return what the sum of a whole batch's responses is divided by; at least 1, so that nothing gives 0.

    "sequence" [SGPO Eq. 1]: the responses, P G1, after each one's sum over tokens is divided by its length; "token"
    (DAPO, veRL's token-mean): their tokens; "constant" (Dr. GRPO, LUFFY): responses times `constant_length`, so that a
    long response weighs more than a short one.

    Raises ValueError for "constant" without a positive length.
    """
    if normalization == "token":
        return max(1.0, tokens)
    if normalization == "sequence":
        return max(1.0, responses)
    if constant_length is None or not constant_length > 0:
        raise ValueError(f"constant_length is {constant_length} (expected a positive number of tokens for 'constant')")
    return max(1.0, responses) * constant_length
