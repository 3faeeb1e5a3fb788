"""Which problems are distilled in this step, from which trajectory, and how strongly [SGPO Eqs. 2, 4, 6]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from sgpo.config import ObjectiveConfig
from sgpo.objectives import adaptive_weight, select_target
from sgpo.rollouts.groups import ProblemSamples
from sgpo.rollouts.schema import Rollout


@dataclass(frozen=True, slots=True)
class Target:
    """The trajectory o+ that a problem is distilled on, and its weight alpha."""

    problem: int
    rollout: Rollout
    alpha: float


def distillation_weight(samples: ProblemSamples, objective: ObjectiveConfig) -> float:
    """alpha of one problem [SGPO Eq. 6]; zero when no guided rollout is correct."""
    passed = samples.pass_rate("guided")
    if objective.distillation == "none" or passed == 0.0:
        return 0.0
    if objective.weight == "fixed":
        return objective.alpha_max
    return float(
        adaptive_weight(samples.pass_rate("autonomous"), passed, objective.alpha0, objective.gamma, objective.alpha_max)
    )


def choose_targets(
    samples: Sequence[ProblemSamples],
    objective: ObjectiveConfig,
    score: Callable[[list[tuple[int, Rollout]]], list[float]],
    seed_of: Callable[[str], int],
) -> list[Target]:
    """The reachable target [SGPO Eq. 4] of each problem with alpha > 0.

    `score` gives sum_t log pi(g_t | q, g_<t) of (problem index, rollout) pairs, the strategy left out of the context;
    `seed_of(problem_id)` seeds the choice when it is "random".
    """
    alphas = [distillation_weight(problem, objective) for problem in samples]
    candidates = [
        (index, rollout)
        for index, problem in enumerate(samples)
        if alphas[index] > 0.0
        for rollout in problem.guided
        if rollout.reward == 1.0
    ]
    scores = score(candidates)
    targets = []
    for index in dict.fromkeys(index for index, _ in candidates):
        mine = [(rollout, value) for (owner, rollout), value in zip(candidates, scores, strict=True) if owner == index]
        chosen = select_target(
            torch.tensor([value for _, value in mine], dtype=torch.float64),
            torch.tensor([len(rollout.token_ids) for rollout, _ in mine]),
            objective.target,
            generator=torch.Generator().manual_seed(seed_of(samples[index].problem_id)),
        )
        targets.append(Target(index, mine[int(chosen)][0], alphas[index]))
    return targets
