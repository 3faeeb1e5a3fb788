"""A guide that collapses, and steps that teach nothing: noticed in the metrics of the steps, as functions of them.

Nothing trains the guided side of Eq. 3 and it moves with the shared weights: at too high a rate it loses what it knew,
and the student follows it (docs/metrics.md). What is remembered of earlier steps is in the run's checkpoints, so that a
resumed run raises the alarm where the uninterrupted one does.
"""

from collections.abc import Mapping
from typing import Any

ALARM = "alarm/guide_collapsed"
"""Metric: 1 in the steps of an episode, 0 in others; left out before anything is known of a guide."""
WINDOW = 10
"""Steps whose guided pass rates are averaged, at the start of the run and now; single steps are noisy."""
MASKED_STEPS = 5
"""Steps over which the masked share of the KL mass is averaged."""
LOST, MASKED = 0.5, 0.5
"""The alarm is raised below this share of the pass rate at the start, and above this masked share."""
CALM = 10
"""Steps in a row without a cause after which an episode ends: a mean on the border begins no episode twice."""

EQUAL = "alarm/equal_steps"
"""Metric: steps in a row, this one included, without any gradient."""

_GUIDED, _MASS = "reward/guided", "distill/kl_mass_masked_fraction"


def watch_guide(
    state: Mapping[str, Any], metrics: Mapping[str, float]
) -> tuple[dict[str, Any], dict[str, float], list[str]]:
    """Return the next state, the alarm's metric, and a message for each cause whose episode begins with this step.

    `state` is empty at the start of a run and can be written as JSON. A step without a metric (no guided rollout, no
    distillation) changes nothing of what is remembered of it.
    """
    start, last, masked = (list(state.get(name, ())) for name in ("start", "last", "masked"))
    if _GUIDED in metrics:
        start = [*start, metrics[_GUIDED]][:WINDOW]
        last = [*last, metrics[_GUIDED]][-WINDOW:]
    if _MASS in metrics:
        masked = [*masked, metrics[_MASS]][-MASKED_STEPS:]
    if not last and not masked:
        return {}, {}, []
    causes = {"lost": _lost(start, last), "masked": _masked(masked)}
    calm_before = dict(state.get("calm", {}))
    # Steps without the cause since its episode began; a cause without an episode has no entry.
    calm = {
        name: 0 if message else calm_before[name] + 1
        for name, message in causes.items()
        if message or calm_before.get(name, CALM) + 1 < CALM
    }
    begun = [message for name, message in causes.items() if message and name not in calm_before]
    return {"start": start, "last": last, "masked": masked, "calm": calm}, {ALARM: float(bool(calm))}, begun


def _lost(start: list[float], last: list[float]) -> str | None:
    if len(last) < WINDOW:
        return None
    before, now = sum(start) / WINDOW, sum(last) / WINDOW
    if now >= LOST * before:
        return None
    return (
        f"the guided pass rate fell from {before:.2f} to {now:.2f} (mean of {WINDOW} steps): the guide is being lost; "
        "training.algorithm.guide=frozen holds it, train_guide=true trains it, a lower training.learning_rate moves it "
        "less; start again, or from an earlier checkpoint"
    )


def _masked(masked: list[float]) -> str | None:
    share = sum(masked) / MASKED_STEPS
    if len(masked) < MASKED_STEPS or share <= MASKED:
        return None
    return (
        f"{share:.0%} of the KL mass is masked (mean of {MASKED_STEPS} steps): Eq. 5 leaves out most of what the guide "
        "says; a larger training.algorithm.delta or clipping=truncate lets it through, unless the guided pass rate "
        "falls too"
    )


def watch_learning(
    equal_steps: int, metrics: Mapping[str, float], patience: int | None
) -> tuple[int, dict[str, float], str | None]:
    """Return the steps in a row that taught nothing, the metric, and after `patience` of them what is the matter.

    A gradient of exactly zero is the sign, whatever the method: in every group all rewards were equal, and nothing was
    distilled or imitated.
    """
    now = equal_steps + 1 if metrics["optim/grad_norm"] == 0.0 else 0
    stuck = patience is not None and now >= patience
    return now, {EQUAL: float(now)}, _equal(now, metrics) if stuck else None


def _equal(steps: int, metrics: Mapping[str, float]) -> str:
    names = {"autonomous": "reward/autonomous", "guided": _GUIDED}
    rewards = ", ".join(f"{metrics[name]:.2f} {what}" for what, name in names.items() if name in metrics)
    cut = metrics.get("response/truncated_fraction", 0.0)
    why = f"{cut:.0%} of the responses were cut at training.sampling.max_new_tokens" if cut > 0.5 else (
        "all answers are right: harder problems" if metrics.get(names["autonomous"]) == 1.0 else
        "no answer is right, or none can be read: a box is missing, or the problems are too hard"
    )  # fmt: skip
    return (
        f"{steps} steps in a row taught nothing: in each group all rewards were equal and there was nothing to distil "
        f"(mean reward {rewards or 'unknown'}; {why}); `sgpo check` shows answers and says what to do"
    )
