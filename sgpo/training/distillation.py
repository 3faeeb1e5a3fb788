"""Which problems are distilled in this step, from which trajectory, and how strongly [SGPO Eqs. 2, 4, 6]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from sgpo.config import ObjectiveConfig
from sgpo.objectives import adaptive_weight, group_advantage_weight, target_shares
from sgpo.rollouts.groups import ProblemSamples
from sgpo.rollouts.schema import Rollout


@dataclass(frozen=True, slots=True)
class Target:
    """A trajectory o+ that a problem is distilled on, the problem's weight alpha, and its share of the problem's loss.

    `share` is 1 but for "all", which takes the mean over every correct guided trajectory.
    """

    problem: int
    rollout: Rollout
    alpha: float
    share: float


def distillation_weight(samples: ProblemSamples, objective: ObjectiveConfig) -> float:
    """alpha of one problem [SGPO Eq. 6] or its ablations; zero when no guided rollout is correct."""
    passed = samples.pass_rate("guided")
    if objective.distillation == "none" or passed == 0.0:
        return 0.0
    if objective.weight == "fixed":
        return objective.alpha_max
    if objective.weight == "group_advantage":
        rewards_G = torch.tensor([rollout.reward for rollout in samples.autonomous], dtype=torch.float64)
        return group_advantage_weight(rewards_G, 1.0, objective.alpha_max)
    return float(
        adaptive_weight(samples.pass_rate("autonomous"), passed, objective.alpha0, objective.gamma, objective.alpha_max)
    )


def choose_targets(
    samples: Sequence[ProblemSamples],
    objective: ObjectiveConfig,
    score: Callable[[list[tuple[int, Rollout]]], list[float]],
    seed_of: Callable[[str], int],
) -> list[Target]:
    """The reachable target [SGPO Eq. 4] of each problem with alpha > 0; all its candidates for "all".

    `score` gives sum_t log pi(g_t | q, g_<t) of (problem index, rollout) pairs, the strategy left out of the context.
    It is called once, with the candidates among which it has something to decide: not where a problem has only one.
    `seed_of(problem_id)` seeds the choice when it is "random".
    """
    alphas = [distillation_weight(problem, objective) for problem in samples]
    candidates = {
        index: [rollout for rollout in problem.guided if rollout.reward == 1.0]
        for index, problem in enumerate(samples)
        if alphas[index] > 0.0
    }
    open_choices = [
        (index, rollout)
        for index, mine in candidates.items()
        if len(mine) > 1 and objective.target in ("sum", "mean")
        for rollout in mine
    ]
    scores: dict[int, list[float]] = {}
    for (index, _), value in zip(open_choices, score(open_choices), strict=True):
        scores.setdefault(index, []).append(value)
    targets = []
    for index, mine in candidates.items():
        shares = target_shares(
            torch.tensor(scores.get(index, [0.0] * len(mine)), dtype=torch.float64),
            torch.tensor([len(rollout.token_ids) for rollout in mine]),
            objective.target,
            generator=torch.Generator().manual_seed(seed_of(samples[index].problem_id)),
        )
        chosen = [(rollout, share) for rollout, share in zip(mine, shares, strict=True) if share > 0.0]
        targets.extend(Target(index, rollout, alphas[index], share) for rollout, share in chosen)
    return targets
