"""How large a gain an evaluation could prove, from its size alone, before anything is sampled.

The variance of a problem's difference between two models is taken as 2 WITHIN / k + BETWEEN: two binomials of k
responses, and gains that differ between problems. Both constants are fitted to the half widths that
benchmarks/gate.py measured on the testbed's kind of problems (docs/measured/operations.md); problems that are nearly
always or never solved vary less, so that this errs on the safe side.
"""

from collections.abc import Sequence
from statistics import NormalDist

WITHIN, BETWEEN = 0.156, 0.0173
"""Variance of one response to a problem, mean over problems; variance of the true gain over problems."""
FOUND = 0.8
"""The share of evaluations that `found_gain` is found in."""


def shown_gain(ks: Sequence[int], confidence: float = 0.95) -> float:
    """Return the half width of the gain's interval, a share: a smaller gain is shown by luck alone.

    `ks` are the responses to each problem; the gain is the mean over all of them, as the gate's. Raises ValueError for
    no problems or no responses.
    """
    return NormalDist().inv_cdf(0.5 + confidence / 2) * _deviation(ks)


def found_gain(ks: Sequence[int], confidence: float = 0.95) -> float:
    """Return the true gain, a share, whose interval lies above zero in FOUND of all evaluations."""
    return shown_gain(ks, confidence) + NormalDist().inv_cdf(FOUND) * _deviation(ks)


def _deviation(ks: Sequence[int]) -> float:
    if not ks or min(ks) < 1:
        raise ValueError(f"{len(ks)} problems, one with {min(ks, default=0)} responses (expected one at least of both)")
    return sum(2.0 * WITHIN / k + BETWEEN for k in ks) ** 0.5 / len(ks)
