"""How large a gain an evaluation could prove, from its size alone, before anything is sampled.

The variance of a problem's difference between two models is taken as 2 WITHIN / k + BETWEEN: two binomials of k
responses, and gains that differ between problems. Both constants are fitted to the half widths that
benchmarks/gate.py measured on the testbed's kind of problems (docs/measured/operations.md); problems that are nearly
always or never solved vary less, so that this errs on the safe side.
"""

from statistics import NormalDist

WITHIN, BETWEEN = 0.156, 0.0173
"""Variance of one response to a problem, mean over problems; variance of the true gain over problems."""
FOUND = 0.8
"""The share of evaluations that `found_gain` is found in."""


def shown_gain(problems: int, k: int, confidence: float = 0.95) -> float:
    """Return the half width of the gain's interval, a share: a smaller gain is shown by luck alone.

    Raises ValueError for no problems or no responses.
    """
    return NormalDist().inv_cdf(0.5 + confidence / 2) * _deviation(problems, k)


def found_gain(problems: int, k: int, confidence: float = 0.95) -> float:
    """Return the true gain, a share, whose interval lies above zero in FOUND of all evaluations."""
    return shown_gain(problems, k, confidence) + NormalDist().inv_cdf(FOUND) * _deviation(problems, k)


def _deviation(problems: int, k: int) -> float:
    if problems < 1 or k < 1:
        raise ValueError(f"{problems} problems with {k} responses each (expected at least one of both)")
    return ((2.0 * WITHIN / k + BETWEEN) / problems) ** 0.5
