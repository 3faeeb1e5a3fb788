"""How long responses are when their mean and their limit are known: most are short, some meet the limit."""

import math
from dataclasses import dataclass

from scipy.optimize import brentq


@dataclass(frozen=True, slots=True)
class Lengths:
    """An exponential distribution of lengths, cut at `longest`; a mean at the limit makes all responses that long."""

    mean: float
    longest: float

    @property
    def scale(self) -> float:
        """Return the scale of the uncut distribution whose cut mean is `mean`; infinite where all are longest."""
        if self.mean >= 0.999 * self.longest:
            return math.inf
        return float(brentq(self._mean_excess, 1e-6 * self.mean, 1e4 * self.longest))

    def _mean_excess(self, scale: float) -> float:
        return scale * -math.expm1(-self.longest / scale) - self.mean

    @property
    def square(self) -> float:
        """Return the mean of the squared lengths."""
        scale = self.scale
        if math.isinf(scale):
            return self.longest**2
        far = self.longest / scale
        return 2.0 * scale**2 * (1.0 - math.exp(-far) * (1.0 + far))

    def longer_than(self, position: float) -> float:
        """Return the share of responses with a token beyond `position`."""
        return 0.0 if position >= self.longest else math.exp(-position / self.scale)
