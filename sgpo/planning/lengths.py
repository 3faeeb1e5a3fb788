"""How long responses are when their mean and their limit are known: most are short, some meet the limit."""

import math
from dataclasses import dataclass
from typing import cast

from scipy.optimize import brentq


@dataclass(frozen=True, slots=True)
class Lengths:
    """An exponential distribution of lengths, cut at `longest`, and a share that never ends by itself.

    Of the responses `endless` run to the limit whatever the mean: models that repeat themselves. They are at most half
    of all tokens. A mean at the limit makes all responses that long.
    """

    mean: float
    longest: float
    endless: float = 0.0

    @property
    def endless_share(self) -> float:
        """Return the share of endless responses that is counted with."""
        return min(self.endless, 0.5 * self.mean / self.longest)

    @property
    def scale(self) -> float:
        """Return the scale of the uncut distribution of the others; infinite where all are longest."""
        if self.mean >= 0.999 * self.longest:
            return math.inf
        others = (self.mean - self.endless_share * self.longest) / (1.0 - self.endless_share)
        return cast(float, brentq(self._mean_excess, 1e-6 * others, 1e4 * self.longest, args=(others,)))

    def _mean_excess(self, scale: float, mean: float) -> float:
        return scale * -math.expm1(-self.longest / scale) - mean

    @property
    def square(self) -> float:
        """Return the mean of the squared lengths."""
        scale = self.scale
        if math.isinf(scale):
            return self.longest**2
        far, share = self.longest / scale, self.endless_share
        others = 2.0 * scale**2 * (1.0 - math.exp(-far) * (1.0 + far))
        return share * self.longest**2 + (1.0 - share) * others

    def longer_than(self, position: float, scale: float | None = None) -> float:
        """Return the share of responses with a token beyond `position`; `scale` where it is known already."""
        if position >= self.longest:
            return 0.0
        share = self.endless_share
        return share + (1.0 - share) * math.exp(-position / (scale or self.scale))
