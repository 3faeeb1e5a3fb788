"""Which responses of a sampled batch carry a gradient of their own, and how much [SGPO Eq. 1; LUFFY; HPT]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sgpo.config import TrainingConfig
from sgpo.objectives import group_advantages
from sgpo.rollouts.groups import ProblemSamples
from sgpo.rollouts.schema import Rollout
from sgpo.training.batches import Row


@dataclass(slots=True)
class Scored:
    """An autonomous rollout that carries gradient: its row, advantage, and log-probabilities under the old policy.

    `share` is one over the responses of its group, the 1/G1 of Eq. 1.
    """

    row: Row
    rollout: Rollout
    advantage: float
    share: float
    old_logprobs: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Expert:
    """A strong model's response that carries gradient: with an advantage (LUFFY), or imitated, None (HPT)."""

    row: Row
    advantage: float | None
    share: float


@dataclass(frozen=True, slots=True)
class OwnResponses:
    """The policy-gradient side of a batch; `tokens` counts those of every rollout that was not dropped."""

    scored: list[Scored]
    experts: list[Expert]
    tokens: int


def score_responses(samples: Sequence[ProblemSamples], config: TrainingConfig) -> OwnResponses:
    """Advantages within each group, and the strong model's response where the configuration gives it a part.

    A response without gradient (equal rewards, hence advantage 0) is left out: it costs no forward and no backward.
    Raises ValueError for a reward that is not finite, and when a problem has no expert response but `objective.expert`
    asks for one.
    """
    objective = config.objective
    scored: list[Scored] = []
    experts: list[Expert] = []
    tokens = 0
    for problem in samples:
        for rollout in (*problem.autonomous, *problem.guided):
            if not math.isfinite(rollout.reward):
                raise ValueError(
                    f"problem '{problem.problem_id}': a reward is {rollout.reward} (expected a finite one)"
                )
        if objective.expert == "hpt" and sum(r.reward for r in problem.autonomous) <= objective.expert_gate:
            experts.append(Expert(_expert_row(problem, len(experts)), None, 1.0))
            continue
        if not objective.grpo:
            continue
        rewards = [rollout.reward for rollout in problem.autonomous]
        if objective.expert == "luffy":
            rewards.append(problem.expert_reward)
        advantages = group_advantages(torch.tensor(rewards, dtype=torch.float64), objective.normalize_std).tolist()
        share = 1.0 / len(rewards)
        for rollout, advantage in zip(problem.autonomous, advantages, strict=False):
            if config.mask_truncated and rollout.finish_reason == "length":
                continue
            tokens += len(rollout.token_ids)
            if advantage != 0.0 or objective.entropy_coefficient:
                row = Row(problem.autonomous_prompt, rollout.token_ids, len(scored))
                scored.append(Scored(row, rollout, advantage, share))
        if objective.expert == "luffy":
            row = _expert_row(problem, len(experts))
            tokens += len(row.response)
            if advantages[-1] != 0.0:
                experts.append(Expert(row, advantages[-1], share))
    return OwnResponses(scored, experts, tokens)


def _expert_row(problem: ProblemSamples, key: int) -> Row:
    if not problem.expert:
        raise ValueError(
            f"problem '{problem.problem_id}' has no strong model's response (expected one in data/responses.parquet, "
            "or training.objective.expert=none)"
        )
    return Row(problem.autonomous_prompt, problem.expert, key)
