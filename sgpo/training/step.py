"""One step of Algorithm 1 after sampling: choose targets, look at them with the strategy, and take the gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from sgpo.config import TrainingConfig
from sgpo.objectives import clipped_kd_loss, group_advantages, grpo_row_losses, sampler_mismatch_kl
from sgpo.rollouts.groups import ProblemSamples
from sgpo.rollouts.schema import Rollout
from sgpo.rollouts.seeds import derive_seed
from sgpo.training.batches import Row, TokenBatch, make_batch, split_rows
from sgpo.training.distillation import Target, choose_targets
from sgpo.training.distributed import World, in_step
from sgpo.training.policy import Policy

Sums = defaultdict[str, float]
"""Metrics to be added up over micro-batches and processes; names that end in _max are maxima."""


@dataclass(slots=True)
class Scored:
    """An autonomous rollout that carries gradient: its row, advantage, and log-probabilities under the old policy."""

    row: Row
    rollout: Rollout
    advantage: float
    weight: float
    old_logprobs: torch.Tensor | None = None


class SgpoGradient:
    """Accumulates the gradient of Eq. 7 for one sampled batch, over micro-batches and processes.

    Denominators are global: `problems` counts the problems of all processes, so the same batch gives the same
    gradient however it is split.
    """

    def __init__(self, policy: Policy, config: TrainingConfig, world: World, pad_id: int) -> None:
        self.policy, self.config, self.world, self.pad_id = policy, config, world, pad_id

    def prepare(self, samples: Sequence[ProblemSamples], run_seed: int, step: int) -> tuple[list[Scored], list[Target]]:
        """Advantages of the autonomous groups [Eq. 1], and targets and weights of the guided ones [Eqs. 2, 4, 6]."""
        objective = self.config.objective

        def target_seed(problem_id: str) -> int:
            return derive_seed(run_seed, step, problem_id, "target", 0)

        targets = choose_targets(samples, objective, lambda candidates: self._score(samples, candidates), target_seed)
        scored: list[Scored] = []
        for problem in samples:
            rewards = torch.tensor([rollout.reward for rollout in problem.autonomous], dtype=torch.float64)
            advantages = group_advantages(rewards, objective.normalize_std).tolist()
            for rollout, advantage in zip(problem.autonomous, advantages, strict=True):
                dropped = self.config.mask_truncated and rollout.finish_reason == "length"
                # A zero advantage has zero gradient: such rows cost no forward and no backward.
                if advantage != 0.0 and not dropped:
                    row = Row(problem.autonomous_prompt, rollout.token_ids, len(scored))
                    scored.append(Scored(row, rollout, advantage, 1.0 / len(problem.autonomous)))
        return scored, targets

    def accumulate(
        self, samples: Sequence[ProblemSamples], scored: Sequence[Scored], targets: Sequence[Target], problems: int
    ) -> Sums:
        """Backward of L_GRPO + alpha L_KD over `problems` problems [Eq. 7]; returns sums of this process's metrics."""
        sums: Sums = defaultdict(float)
        tokens = self._token_denominator(scored, problems)
        for rows in self._microbatches([item.row for item in scored]):
            self._autonomous(rows, scored, tokens, problems, sums)
        guided_hidden = self._guided_hidden(samples, targets)
        rows = [
            Row(samples[target.problem].autonomous_prompt, target.rollout.token_ids, key)
            for key, target in enumerate(targets)
        ]
        for batch_rows in self._microbatches(rows):
            self._distill(batch_rows, targets, guided_hidden, problems, sums)
        return sums

    def remember_old_policy(self, scored: Sequence[Scored]) -> None:
        """Keep log pi_old of every rollout from the trainer's own forward, for several mini-batches per batch."""
        for rows, batch in self._forward_only([item.row for item in scored]):
            logprobs_BR, _ = self.policy(batch, "logprobs", self.config.sampling.temperature)
            for row, logprobs_R in zip(rows, logprobs_BR, strict=False):
                scored[row.key].old_logprobs = logprobs_R[: len(row.response)]

    def _autonomous(self, rows: list[Row], scored: Sequence[Scored], tokens: float, problems: int, sums: Sums) -> None:
        batch = self._batch(rows)
        logprobs_BR, entropy_BR = self.policy(batch, "logprobs", self.config.sampling.temperature)
        if not rows:
            (logprobs_BR.sum() * 0.0).backward()
            return
        mine = [scored[row.key] for row in rows]
        objective = self.config.objective
        advantages_B = torch.tensor(
            [item.advantage for item in mine], dtype=logprobs_BR.dtype, device=logprobs_BR.device
        )
        row_loss_B, metrics = grpo_row_losses(
            logprobs_BR,
            self._old_logprobs(mine, logprobs_BR),
            advantages_B,
            batch.mask_BR,
            objective.clip_low,
            objective.clip_high,
            normalization=objective.normalization,
        )
        weights = [item.weight / problems if objective.normalization == "sequence" else 1.0 / tokens for item in mine]
        loss = (row_loss_B * row_loss_B.new_tensor(weights)).sum()
        loss.backward()
        sampler_BR = batch.unflatten(
            torch.tensor([value for item in mine for value in item.rollout.logprobs], device=logprobs_BR.device)
        )
        mismatch = sampler_mismatch_kl(logprobs_BR.detach(), sampler_BR.to(logprobs_BR.dtype), batch.mask_BR)
        _add(sums, {"loss": loss, "grpo_loss": loss, "entropy_sum": entropy_BR.sum()}, metrics, mismatch)

    def _distill(
        self,
        rows: list[Row],
        targets: Sequence[Target],
        guided_hidden: dict[int, torch.Tensor],
        problems: int,
        sums: Sums,
    ) -> None:
        batch = self._batch(rows)
        hidden_ND = torch.cat([guided_hidden[row.key] for row in rows]) if rows else None
        if hidden_ND is None:
            (self.policy(batch, "logprobs")[0].sum() * 0.0).backward()
            return
        (kl_BR,) = self.policy(batch, "forward_kl", self.config.sampling.temperature, hidden_ND)
        row_loss_B, metrics = clipped_kd_loss(kl_BR, batch.mask_BR, self.config.objective.delta)
        alpha_B = row_loss_B.new_tensor([targets[row.key].alpha for row in rows])
        loss = (alpha_B * row_loss_B).sum() / problems
        loss.backward()
        _add(sums, {"loss": loss, "kd_loss": loss}, metrics)

    def _guided_hidden(self, samples: Sequence[ProblemSamples], targets: Sequence[Target]) -> dict[int, torch.Tensor]:
        """Hidden states of each target with the strategy in context: the stop-gradient side of Eq. 3."""
        rows = [
            Row(samples[target.problem].guided_prompt, target.rollout.token_ids, key)
            for key, target in enumerate(targets)
        ]
        hidden: dict[int, torch.Tensor] = {}
        for batch_rows, batch in self._forward_only(rows):
            (hidden_ND,) = self.policy(batch, "hidden")
            spans = hidden_ND.split([len(row.response) for row in batch_rows]) if batch_rows else ()
            hidden.update({row.key: span for row, span in zip(batch_rows, spans, strict=True)})
        return hidden

    def _score(self, samples: Sequence[ProblemSamples], candidates: list[tuple[int, Rollout]]) -> list[float]:
        rows = [
            Row(samples[index].autonomous_prompt, rollout.token_ids, key)
            for key, (index, rollout) in enumerate(candidates)
        ]
        scores = [0.0] * len(rows)
        for batch_rows, batch in self._forward_only(rows):
            logprobs_BR, _ = self.policy(batch, "logprobs", self.config.sampling.temperature)
            for row, value in zip(batch_rows, logprobs_BR.double().sum(dim=1).tolist(), strict=False):
                scores[row.key] = value
        return scores

    def _forward_only(self, rows: list[Row]) -> Iterator[tuple[list[Row], TokenBatch]]:
        for batch_rows in self._microbatches(rows):
            with torch.no_grad():
                yield batch_rows, self._batch(batch_rows)

    def _microbatches(self, rows: list[Row]) -> Iterator[list[Row]]:
        return in_step(split_rows(rows, self.config.tokens_per_microbatch), self.world)

    def _batch(self, rows: list[Row]) -> TokenBatch:
        placeholder = Row((self.pad_id,), (self.pad_id,), -1)
        return make_batch(rows or [placeholder], self.pad_id, self.world.device)

    def _token_denominator(self, scored: Sequence[Scored], problems: int) -> float:
        """Response tokens of all processes, for the "token" normalisation."""
        if self.config.objective.normalization == "sequence":
            return float(problems)
        mine = float(sum(len(item.row.response) for item in scored))
        return max(1.0, self.world.sum({"tokens": mine})["tokens"])

    @staticmethod
    def _old_logprobs(mine: Sequence[Scored], logprobs_BR: torch.Tensor) -> torch.Tensor:
        """pi_old: remembered, or the current policy itself when there is one optimiser step per batch (ratio 1)."""
        if mine[0].old_logprobs is None:
            return logprobs_BR.detach()
        old_BR = torch.zeros_like(logprobs_BR)
        for row, item in enumerate(mine):
            assert item.old_logprobs is not None
            old_BR[row, : len(item.old_logprobs)] = item.old_logprobs
        return old_BR


def _add(sums: Sums, *metrics: dict[str, torch.Tensor]) -> None:
    for group in metrics:
        for name, value in group.items():
            if name.endswith("_max"):
                sums[name] = max(sums.get(name, 0.0), float(value))
            else:
                sums[name] += float(value.detach())
