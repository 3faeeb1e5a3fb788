"""What a run's checkpoints keep beside tensors: one JSON object, and what becomes of it from step to step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from sgpo.training.history import Validated


class Skipped(TypedDict):
    """A step whose update was not taken."""

    step: int
    grad_norm: float | str
    """The words "not finite" where it is no number that JSON has."""
    problems: list[str]


class RunState(TypedDict):
    """Where a run stands; a JSON object, as checkpoints keep it, and the same on all processes.

    What is not required is missing until a step has brought it.
    """

    step: int
    """Steps that are trained."""
    config: str
    """Digest of the settings that what is computed depends on."""
    skipped: list[Skipped]
    """The steps not taken since the last one that was."""
    reward_sum: float
    """Of the mean autonomous rewards of the steps since the last checkpoint that was due."""
    reward_steps: int
    """How many of those steps had such a reward."""
    unrecorded: NotRequired[list[Mapping[str, Any]]]
    """Metrics and histograms of the last step until it is recorded; saved where a signal has cut its validation."""
    guide_alarm: NotRequired[dict[str, Any]]
    """What `watch_guide` remembers."""
    equal_steps: NotRequired[int]
    """What `watch_learning` counts."""
    score: NotRequired[float]
    """The higher, the better are the weights; see `checkpoints.kept`."""
    validations: NotRequired[list[Validated]]
    """All of them, the first one first."""


def first_state(config: str) -> RunState:
    """Return the state before the first step of a run whose settings have this digest."""
    return {"step": 0, "config": config, "skipped": [], "reward_sum": 0.0, "reward_steps": 0}


def after_step(state: RunState, step: int, metrics: Mapping[str, float], problems: Sequence[str]) -> RunState:
    """Return the counts after training step `step`, the first one 0, on these problems."""
    skipped: list[Skipped] = []
    if metrics["optim/steps_skipped"]:
        norm = metrics["optim/grad_norm"]
        known = norm if math.isfinite(norm) else "not finite"
        skipped = [*state["skipped"], {"step": step, "grad_norm": known, "problems": list(problems)}]
    reward = metrics.get("reward/autonomous")
    return {
        **state,
        "step": step + 1,
        "skipped": skipped,
        "reward_sum": state["reward_sum"] + (reward or 0.0),
        "reward_steps": state["reward_steps"] + (reward is not None),
    }


def after_validation(state: RunState, avg_at_k: float | None) -> RunState:
    """Return the state whose last step has nothing unrecorded, with what its validation found, if it had one."""
    state = state.copy()
    state.pop("unrecorded", None)
    if avg_at_k is None:
        return state
    new: Validated = {"step": state["step"], "avg_at_k": avg_at_k}
    return {**state, "score": avg_at_k, "validations": [*state.get("validations", []), new]}


def at_checkpoint(state: RunState, *, score_by_reward: bool) -> RunState:
    """Return what a checkpoint that is due keeps: rewards are summed anew, and their mean is the score if asked for."""
    if score_by_reward:
        state = {**state, "score": state["reward_sum"] / max(1, state["reward_steps"])}
    return {**state, "reward_sum": 0.0, "reward_steps": 0}
