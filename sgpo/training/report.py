"""What the person watching sees: a line for each step, and a warning when no reward is informative."""

import time
from collections.abc import Mapping, Sequence

from sgpo.progress import is_quiet
from sgpo.training.world import World

DEAD_REWARD_STEPS = 5
"""Steps in a row in which every reward was 0, or every one 1, after which a warning is printed."""


ESTIMATED_AFTER = 3
"""Steps of a start after which the time left is told, and logged."""


class StepReport:
    """Prints the progress of a run on the first process."""

    def __init__(self, world: World, steps: int, start: int) -> None:
        """Begin at step `start` of `steps`."""
        self._world, self._steps, self._start = world, steps, start
        self._warm: float | None = None
        self._started, self._dead_steps = time.perf_counter(), 0

    def estimate(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return hours and sampled tokens that are left, after the third step of this start; after others nothing.

        The first step warms up and is not counted.
        """
        place = step - self._start
        if place == 0:
            self._warm = time.perf_counter()
        if place != ESTIMATED_AFTER - 1 or self._warm is None:
            return {}
        left = self._steps - step - 1
        seconds = left * (time.perf_counter() - self._warm) / place
        per_step = sum(value for name, value in metrics.items() if name.startswith("time/"))
        tokens = left * metrics.get("throughput/tokens_per_second", 0.0) * per_step
        return {"throughput/hours_left": seconds / 3600.0, "throughput/tokens_left": tokens}

    def show(self, step: int, metrics: Mapping[str, float], warnings: Sequence[str] = ()) -> None:
        """Print the step's line, its validation and warnings, and one when rewards have been all equal for a while."""
        if not self._world.is_main:
            return
        seconds_left = (time.perf_counter() - self._started) / (step + 1 - self._start) * (self._steps - step - 1)
        if not is_quiet():
            print(progress_line(step + 1, self._steps, metrics, seconds_left), flush=True)
            if metrics.get("throughput/hours_left"):
                print(estimate_line(metrics), flush=True)
            if "validation/avg_at_k" in metrics:
                print(validation_line(step + 1, metrics), flush=True)
        for warning in warnings:
            print(f"warning: {warning}", flush=True)
        rewards = {metrics[name] for name in ("reward/autonomous", "reward/guided") if name in metrics}
        self._dead_steps = self._dead_steps + 1 if rewards in ({0.0}, {1.0}) else 0
        if self._dead_steps == DEAD_REWARD_STEPS:
            every = f"every reward was {rewards.pop():.0f} for {self._dead_steps} steps"
            print(f"warning: {every}: check the verifier, the prompts and the data", flush=True)


def estimate_line(metrics: Mapping[str, float]) -> str:
    """Return what is left after the third step."""
    minutes, tokens = 60 * metrics["throughput/hours_left"], metrics["throughput/tokens_left"] / 1e6
    return f"estimate after {ESTIMATED_AFTER} steps: {minutes:.1f} minutes and {tokens:.2f}M sampled tokens left"


def validation_line(step: int, metrics: Mapping[str, float]) -> str:
    """Return the line of a validation, in per cent."""
    names = ("validation/avg_at_k", "validation/avg_at_k_low", "validation/avg_at_k_high", "validation/pass_at_k")
    average, low, high, reached = (100 * metrics[name] for name in names)
    return f"validation after {step} steps: avg@k {average:.1f} ({low:.1f} to {high:.1f})  pass@k {reached:.1f}"


def progress_line(step: int, steps: int, metrics: Mapping[str, float], seconds_left: float) -> str:
    """Return one line for the person watching."""

    def show(name: str, form: str) -> str:
        return form.format(metrics[name]) if name in metrics else "-"

    return (
        f"step {step:>4}/{steps}"
        f"  reward {show('reward/autonomous', '{:.2f}')}"
        f"  guided {show('reward/guided', '{:.2f}')}"
        f"  alpha {show('distill/alpha_mean', '{:.2f}')}"
        f"  kl {show('distill/kl_mean', '{:.3f}')}"
        f"  masked {show('distill/tokens_masked_fraction', '{:.1%}')} of tokens"
        f" {show('distill/kl_mass_masked_fraction', '{:.0%}')} of kl"
        f"  entropy {show('policy/entropy', '{:.2f}')}"
        f"  {show('throughput/tokens_per_second', '{:.0f}')} tok/s"
        f"  {int(seconds_left) // 60}:{int(seconds_left) % 60:02d} left"
    )
