"""How many groups of rollouts teach something, from a pass rate that a few answers have shown.

Problems are not equally hard: their pass rates are taken to have a beta distribution with the mean that was seen and
a + b = SPREAD. With one rate for all problems a pass rate of 0.2 would have 83 of 100 groups of eight differ; of
SmolLM2-135M's first twenty steps near that rate 36 did, of the testbed's 42 steps, which leave it, 85
(docs/measured/planning.md).
"""

from __future__ import annotations

from sgpo.checks.samples import Samples
from sgpo.rollouts.schema import Group

SPREAD = 1.5


def pass_rate(samples: Samples, context: Group) -> float:
    """Return the mean of what the pass rate may be, by Laplace's rule: a few wrong answers do not make it zero.

    It is one half in a context that was not sampled, such as that of strategies that are not there yet.
    """
    answers = samples.of(context)
    return (sum(answer.outcome == "right" for answer in answers) + 1.0) / (len(answers) + 2.0)


def share_with_a_right_one(rate: float, rollouts: int) -> float:
    """Return the share of problems of whose `rollouts` one at least is right, at a mean pass rate of `rate`."""
    return 1.0 - _none(rate, rollouts)


def share_that_differs(rate: float, rollouts: int) -> float:
    """Return the share of problems of whose `rollouts` some are right and some wrong, at a mean pass rate of `rate`."""
    return max(0.0, 1.0 - _none(rate, rollouts) - _none(1.0 - rate, rollouts))


def _none(rate: float, rollouts: int) -> float:
    """Return the beta-binomial probability of no success in `rollouts`; 1.0 of none."""
    from scipy import stats  # a second of imports

    return float(stats.betabinom.pmf(0, rollouts, SPREAD * rate, SPREAD * (1.0 - rate)))
