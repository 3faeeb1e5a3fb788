"""How strongly a problem is distilled, from what the strategy is worth to the current model [SGPO Eq. 6]."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from sgpo.objectives.grpo import group_advantages

Rate = TypeVar("Rate", float, torch.Tensor)


def adaptive_weight(
    pass_autonomous: Rate, pass_guided: Rate, alpha0: float = 0.5, gamma: float = 0.1, alpha_max: float = 0.8
) -> Rate:
    """Alpha = clip(alpha0 (p_guide - p_auto + gamma) / (p_auto + gamma), 0, alpha_max) [SGPO Eq. 6], else 0.

    p_auto and p_guide are the pass rates of the two groups in this step, floats or tensors of one shape; the result is
    of the same kind and carries no gradient. Where p_guide = 0 no guided trajectory is correct, there is nothing to
    distil, and alpha = 0 [docs/method.md section 5]: the bare formula would give alpha0 for p_auto = 0.

    Raises ValueError for pass rates outside [0, 1], alpha0 < 0, gamma <= 0 or alpha_max < 0.
    """
    if not (alpha0 >= 0.0 and gamma > 0.0 and alpha_max >= 0.0):
        raise ValueError(
            f"alpha0 {alpha0}, gamma {gamma}, alpha_max {alpha_max} (expected alpha0 >= 0, gamma > 0, alpha_max >= 0)"
        )
    auto = torch.as_tensor(pass_autonomous, dtype=None if _is_float_tensor(pass_autonomous) else torch.float64).detach()
    guide = torch.as_tensor(pass_guided, dtype=None if _is_float_tensor(pass_guided) else torch.float64).detach()
    if auto.shape != guide.shape:
        raise ValueError(f"pass rates have shapes {tuple(auto.shape)} and {tuple(guide.shape)} (expected the same)")
    for name, rate in (("autonomous", auto), ("guided", guide)):
        if not bool(((rate >= 0.0) & (rate <= 1.0)).all()):
            raise ValueError(f"{name} pass rate is {rate.tolist()} (expected within [0, 1])")
    alpha = (alpha0 * (guide - auto + gamma) / (auto + gamma)).clamp(0.0, alpha_max)
    alpha = alpha.masked_fill(guide == 0.0, 0.0)
    return alpha if isinstance(pass_autonomous, torch.Tensor) else float(alpha)  # type: ignore[return-value]


def group_advantage_weight(rewards_G: Sequence[float], target_reward: float = 1.0, alpha_max: float = 0.8) -> float:
    """clip((R(o+) - mean_G) / (std_G + 1e-6), 0, alpha_max) over G = {autonomous group, o+}, an ablation.

    The advantage that o+ would have as one more member of the autonomous group, `rewards_G`; the same deviation as in
    `group_advantages`. 0 when all rewards are equal. Raises ValueError for an empty group, rewards that are not finite,
    or alpha_max < 0.
    """
    if not alpha_max >= 0.0:
        raise ValueError(f"alpha_max is {alpha_max} (expected at least 0)")
    return min(max(float(group_advantages([*rewards_G, target_reward])[-1]), 0.0), alpha_max)


def _is_float_tensor(value: float | torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
