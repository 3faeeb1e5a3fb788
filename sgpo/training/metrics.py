"""From the sums of all processes to the metrics of a step, under the names of DESIGN.md section 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sgpo.rollouts.groups import ProblemSamples
from sgpo.training.distributed import World


def step_metrics(
    samples: Sequence[ProblemSamples],
    sums: Mapping[str, float],
    world: World,
    problems: int,
    step: int,
    learning_rate: float,
    times: dict[str, float],
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics and histograms of one step over all processes; shares with nothing to divide by are left out."""
    rollouts = [rollout for problem in samples for rollout in (*problem.autonomous, *problem.guided)]
    autonomous = [rollout for problem in samples for rollout in problem.autonomous]
    guided = [rollout for problem in samples for rollout in problem.guided]
    local = {
        "rollouts": len(rollouts),
        "response_tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "truncated": sum(rollout.finish_reason == "length" for rollout in rollouts),
        "staleness": sum(step - rollout.policy_step for rollout in rollouts),
        "autonomous": len(autonomous),
        "autonomous_reward": sum(rollout.reward for rollout in autonomous),
        "equal_groups": sum(len({rollout.reward for rollout in problem.autonomous}) < 2 for problem in samples),
        "guided": len(guided),
        "guided_reward": sum(rollout.reward for rollout in guided),
        **{name: sums.get(name, 0.0) for name in SUMMED},
    }
    total = world.sum({name: float(value) for name, value in local.items()})
    largest = world.maximum({**{name: sums.get(name, 0.0) for name in LARGEST}, **times})
    seconds = sum(largest[name] for name in times)
    metrics = {
        "reward/autonomous": _share(total, "autonomous_reward", "autonomous"),
        "reward/guided": _share(total, "guided_reward", "guided"),
        "reward/equal_groups_fraction": total["equal_groups"] / problems,
        "distill/alpha_mean": total["alpha"] / problems,
        "distill/targets_fraction": total["targets"] / problems,
        "distill/kl_mean": _share(total, "kl_mass", "tokens"),
        "distill/tokens_masked_fraction": _share(total, "tokens_masked", "tokens"),
        "distill/kl_mass_masked_fraction": _share(total, "kl_mass_masked", "kl_mass"),
        "loss/total": total["loss"],
        "loss/grpo": total["grpo_loss"],
        "loss/distillation": total["kd_loss"],
        "loss/expert": total["expert_loss"] if total["experts"] else None,
        "expert/fraction": total["experts"] / problems if total["experts"] else None,
        "policy/entropy": _share(total, "entropy_sum", "grpo_tokens"),
        "policy/ratio_max": largest["ratio_max"],
        "policy/clip_fraction": _share(total, "clipped", "grpo_tokens"),
        "policy/sampler_mismatch_kl": _share(total, "mismatch_kl", "mismatch_tokens"),
        "policy/sampler_ratio_max": largest["sampler_ratio_max"] if total["mismatch_tokens"] else None,
        "policy/staleness": _share(total, "staleness", "rollouts"),
        "policy/importance_capped_fraction": _share(total, "importance_capped", "grpo_tokens"),
        "response/length_mean": _share(total, "response_tokens", "rollouts"),
        "response/truncated_fraction": _share(total, "truncated", "rollouts"),
        "optim/lr": learning_rate,
        "optim/grad_norm": largest["grad_norm_max"],
        "optim/steps_skipped": total["steps_skipped"],
        **{name: largest[name] for name in times},
        "throughput/tokens_per_second": total["response_tokens"] / max(seconds, 1e-9),
        "throughput/padding_fraction": _share(total, "padding_tokens", "padded_tokens"),
    }
    histogram = [total[f"alpha_bin_{place}"] for place in range(ALPHA_BINS)]
    return {name: value for name, value in metrics.items() if value is not None}, {"distill/alpha_hist": histogram}


ALPHA_BINS = 8
"""Bins of `distill/alpha_hist`, of equal width over [0, alpha_max]; the last one holds alpha_max itself."""


def alpha_bins(alphas: Sequence[float], alpha_max: float) -> list[str]:
    """The name of the sum that counts each problem's alpha."""
    width = max(alpha_max, 1e-9) / ALPHA_BINS
    return [f"alpha_bin_{min(int(alpha / width), ALPHA_BINS - 1)}" for alpha in alphas]


SUMMED = (
    "loss", "grpo_loss", "kd_loss", "entropy_sum", "grpo_tokens", "clipped", "mismatch_kl", "mismatch_tokens",
    "tokens", "tokens_masked", "kl_mass", "kl_mass_masked", "targets", "alpha", "steps_skipped", "expert_loss",
    "experts", "importance_capped", "padded_tokens", "padding_tokens",
    *(f"alpha_bin_{place}" for place in range(ALPHA_BINS)),
)  # fmt: skip
LARGEST = ("ratio_max", "grad_norm_max", "sampler_ratio_max")


def progress_line(step: int, steps: int, metrics: dict[str, float], seconds_left: float) -> str:
    """One line for the person watching."""

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


def _share(total: dict[str, float], part: str, whole: str) -> float | None:
    return total[part] / total[whole] if total[whole] else None
