"""Confidence intervals for a mean over problems. The problem is the unit: its k responses are not independent."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

# Resample x problem values held at once; keeps the jackknife of BCa below 32 MiB for any number of problems.
_VALUES_AT_ONCE = 2_000_000
# Means of the same number of rewards that differ by less differ only by rounding.
_SAME = 1e-12


class Estimate(BaseModel):
    """A number with its interval, and how the interval was made.

    `bootstrap`: BCa bootstrap over problems. `percentile`: plain percentile bootstrap, where BCa is not finite.
    `exact`: every problem had the same value, so resampling shows no spread (see `mean_estimate`).
    `mover`: combined from the intervals of the tiers (see `mean_of_estimates`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    method: Literal["bootstrap", "percentile", "exact", "mover"]


def mean_estimate(
    values: Sequence[float] | np.ndarray, bounds: tuple[float, float], confidence: float, resamples: int, seed: int
) -> Estimate:
    """Return the mean of one value per problem, [problems], all within `bounds`, with its interval over problems.

    When all values equal c, the bootstrap would claim certainty. Instead: of n problems none differed from c, so the
    chance p that a new one does is at most the Clopper-Pearson bound of 0 in n (`scipy.stats.binomtest`), and the mean
    lies within c - p (c - lowest) .. c + p (highest - c), whatever the other values are. So for one problem alone.
    """
    from scipy import stats  # a second of imports, which training and flows do without

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if np.ptp(array) < _SAME:
        chance = float(stats.binomtest(0, array.size).proportion_ci(confidence, method="exact").high)
        lowest, highest = bounds
        low, high = mean - chance * (mean - lowest), mean + chance * (highest - mean)
        return Estimate(value=mean, low=low, high=high, method="exact")
    low, high = _bootstrap(array, "BCa", confidence, resamples, seed)
    if np.isfinite([low, high]).all():
        return Estimate(value=mean, low=low, high=high, method="bootstrap")
    low, high = _bootstrap(array, "percentile", confidence, resamples, seed)
    return Estimate(value=mean, low=low, high=high, method="percentile")


def mean_of_estimates(estimates: Iterable[Estimate]) -> Estimate:
    """Plain mean of independent estimates (the tiers), with the interval that theirs imply.

    Each side's squared distances add up (MOVER: Zou & Donner, Statistics in Medicine 2008), which unlike a stratified
    bootstrap keeps the uncertainty of a tier whose problems all had the same value.
    """
    parts = list(estimates)
    value = sum(part.value for part in parts) / len(parts)
    below = sum((part.value - part.low) ** 2 for part in parts) ** 0.5 / len(parts)
    above = sum((part.high - part.value) ** 2 for part in parts) ** 0.5 / len(parts)
    return Estimate(value=value, low=value - below, high=value + above, method="mover")


def _bootstrap(
    values: np.ndarray, method: Literal["BCa", "percentile"], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    from scipy import stats

    with warnings.catch_warnings():
        # The caller looks at the result and says in `Estimate.method` when BCa had none.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=confidence,
            n_resamples=resamples,
            method=method,
            batch=max(1, _VALUES_AT_ONCE // values.size),
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)
