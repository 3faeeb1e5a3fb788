"""From sums over chunks, micro-batches and processes to the metrics of a step (docs/metrics.md has every name)."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from sgpo.algorithms.base import Algorithm
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.world import World


class MetricSums(defaultdict[str, float]):
    """Metrics of this process, added up; names that end in _max are maxima."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(float)

    def add(self, metrics: Mapping[str, torch.Tensor | float]) -> None:
        """Add the metrics of a chunk, a micro-batch or a mini-batch."""
        for name, value in metrics.items():
            number = float(value.detach()) if isinstance(value, torch.Tensor) else float(value)
            self[name] = max(self[name], number) if name.endswith("_max") else self[name] + number

    def add_alphas(self, alphas: Sequence[float], algorithm: Algorithm) -> None:
        """Add the weight of each problem's distillation and count it in its bin."""
        width = max(algorithm.largest_alpha, 1e-9) / ALPHA_BINS
        self["alpha"] += sum(alphas)
        for alpha in alphas:
            self[f"alpha_bin_{min(int(alpha / width), ALPHA_BINS - 1)}"] += 1.0

    def add_update(self, grad_norm: float, taken: bool, world: World) -> None:
        """Add an optimiser step: its gradient norm, and whether it was skipped (counted once over all processes)."""
        self.add({"grad_norm_max": grad_norm if math.isfinite(grad_norm) else math.inf})
        self["steps_skipped"] += (not taken) / world.size


def step_metrics(
    samples: Sequence[ProblemSamples],
    sums: Mapping[str, float],
    world: World,
    problems: int,
    step: int,
    learning_rate: float,
    times: dict[str, float],
    own_names: Sequence[str] = (),
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return metrics and histograms of one step over all processes, without ratios that have nothing to divide by.

    `own_names` are sums of a method's own (`Algorithm.metric_names`), logged as method/<name>.
    """
    local = {**_counts(samples, step), **{name: sums.get(name, 0.0) for name in (*SUMMED, *own_names)}}
    total = world.sum({name: float(value) for name, value in local.items()})
    largest = world.maximum({**{name: sums.get(name, 0.0) for name in LARGEST}, **times})
    seconds = sum(largest[name] for name in times)
    metrics = {
        "reward/autonomous": _ratio(total, "autonomous_reward", "autonomous"),
        "reward/guided": _ratio(total, "guided_reward", "guided"),
        "reward/equal_groups_fraction": total["equal_groups"] / problems if total["groups"] else None,
        "distill/alpha_mean": total["alpha"] / problems,
        "distill/targets_fraction": total["targets"] / problems,
        "distill/kl_mean": _ratio(total, "kl_mass", "tokens"),
        "distill/tokens_masked_fraction": _ratio(total, "tokens_masked", "tokens"),
        "distill/kl_mass_masked_fraction": _ratio(total, "kl_mass_masked", "kl_mass"),
        "loss/total": total["loss"],
        "loss/grpo": total["grpo_loss"],
        "loss/distillation": total["kd_loss"],
        "loss/expert": total["expert_loss"] if total["experts"] else None,
        "expert/fraction": total["experts"] / problems if total["experts"] else None,
        "policy/entropy": _ratio(total, "entropy_sum", "grpo_tokens"),
        "policy/ratio_max": largest["ratio_max"],
        "policy/clip_fraction": _ratio(total, "clipped", "grpo_tokens"),
        "policy/sampler_mismatch_kl": _ratio(total, "mismatch_kl", "mismatch_tokens"),
        "policy/sampler_ratio_max": largest["sampler_ratio_max"] if total["mismatch_tokens"] else None,
        "policy/staleness": _ratio(total, "staleness", "rollouts"),
        "policy/importance_capped_fraction": _ratio(total, "importance_capped", "grpo_tokens"),
        "response/length_mean": _ratio(total, "response_tokens", "rollouts"),
        "response/truncated_fraction": _ratio(total, "truncated", "rollouts"),
        "optim/lr": learning_rate,
        "optim/grad_norm": largest["grad_norm_max"],
        "optim/steps_skipped": total["steps_skipped"],
        **{name: largest[name] for name in times},
        "throughput/tokens_per_second": total["response_tokens"] / max(seconds, 1e-9),
        "throughput/padding_fraction": _ratio(total, "padding_tokens", "padded_tokens"),
        **{f"method/{name}": total[name] for name in own_names},
    }
    histogram = [total[f"alpha_bin_{place}"] for place in range(ALPHA_BINS)]
    return {name: value for name, value in metrics.items() if value is not None}, {"distill/alpha_hist": histogram}


ALPHA_BINS = 8
"""Bins of `distill/alpha_hist`, of equal width over [0, alpha_max]; the last one holds alpha_max itself."""
SUMMED = (
    "loss", "grpo_loss", "kd_loss", "entropy_sum", "grpo_tokens", "clipped", "mismatch_kl", "mismatch_tokens",
    "tokens", "tokens_masked", "kl_mass", "kl_mass_masked", "targets", "alpha", "steps_skipped", "expert_loss",
    "experts", "importance_capped", "padded_tokens", "padding_tokens",
    *(f"alpha_bin_{place}" for place in range(ALPHA_BINS)),
)  # fmt: skip
LARGEST = ("ratio_max", "grad_norm_max", "sampler_ratio_max")


def _counts(samples: Sequence[ProblemSamples], step: int) -> dict[str, float]:
    """Return what this process's rollouts add to the counts of a step."""
    rollouts = [rollout for problem in samples for rollout in (*problem.autonomous, *problem.guided)]
    autonomous = [rollout for problem in samples for rollout in problem.autonomous]
    guided = [rollout for problem in samples for rollout in problem.guided]
    return {
        "rollouts": len(rollouts),
        "response_tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "truncated": sum(rollout.finish_reason == "length" for rollout in rollouts),
        "staleness": sum(step - rollout.policy_step for rollout in rollouts),
        "autonomous": len(autonomous),
        "autonomous_reward": sum(rollout.reward for rollout in autonomous),
        "groups": sum(bool(problem.autonomous) for problem in samples),
        "equal_groups": sum(len({rollout.reward for rollout in problem.autonomous}) == 1 for problem in samples),
        "guided": len(guided),
        "guided_reward": sum(rollout.reward for rollout in guided),
    }


def _ratio(total: dict[str, float], over: str, under: str) -> float | None:
    return total[over] / total[under] if total[under] else None
