"""Whether a challenger may replace the champion: a pure function of their comparison."""

from pydantic import BaseModel, ConfigDict

from sgpo.config import GateConfig
from sgpo.evaluation.comparison import Comparison

# Averages are sums of many rewards: a fall that equals the tolerance but for rounding is within it.
_ROUNDING = 1e-9


class Decision(BaseModel):
    """The gate's verdict and, one sentence each, why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    promote: bool
    reasons: tuple[str, ...]


def decide(comparison: Comparison, gate: GateConfig) -> Decision:
    """Promote when the overall gain's lower bound exceeds `margin` and no tier's avg@k fell by more than `tolerance`.

    The bound answers for chance in the overall gain. A tier has few problems, so its measured fall is held against the
    tolerance, not its bound, which would refuse nearly every challenger.
    """
    gain = comparison.overall.difference
    gained = gain.low > gate.margin
    interval = f"{comparison.confidence:.0%} interval {_points(gain.low)} to {_points(gain.high)}"
    reasons = [
        f"Overall the challenger's {comparison.name_of_average} changes by {_points(gain.value)} points ({interval}) "
        f"on {comparison.overall.problems} problems; the lower end is {'above' if gained else 'not above'} the margin "
        f"of {_points(gate.margin)}."
    ]
    fallen = [name for name, tier in comparison.tiers.items() if -tier.difference.value > gate.tolerance + _ROUNDING]
    for name in fallen:
        tier = comparison.tiers[name]
        reasons.append(
            f"Tier '{name}' falls by {-100 * tier.difference.value:.1f} points (from {100 * tier.champion:.1f} to "
            f"{100 * tier.challenger:.1f}), more than the tolerated {100 * gate.tolerance:.1f}."
        )
    if not fallen:
        worst = min(comparison.tiers, key=lambda name: comparison.tiers[name].difference.value)
        reasons.append(
            f"No tier falls by more than the tolerated {100 * gate.tolerance:.1f} points (the least gain is "
            f"{_points(comparison.tiers[worst].difference.value)}, of tier '{worst}')."
        )
    return Decision(promote=gained and not fallen, reasons=tuple(reasons))


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
