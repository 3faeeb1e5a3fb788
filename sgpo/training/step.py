"""One step of Algorithm 1 after sampling: choose targets, look at them with the strategy, and take the gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from sgpo.config import TrainingConfig
from sgpo.objectives import (
    annealed_delta,
    clipped_kd_loss,
    grpo_row_losses,
    outer_denominator,
    sampler_mismatch_kl,
    truncated_importance,
)
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.groups import ProblemSamples
from sgpo.rollouts.schema import Rollout
from sgpo.rollouts.seeds import derive_seed
from sgpo.training.advantages import Expert, OwnResponses, Scored, score_responses
from sgpo.training.batches import Row, TokenBatch, make_batch, split_rows
from sgpo.training.distillation import Target, choose_targets
from sgpo.training.distributed import World, in_step
from sgpo.training.policy import Policy
from sgpo.training.token_losses import distillation_tokens, grpo_tokens, luffy_tokens, spread, supervised_tokens

Sums = defaultdict[str, float]
"""Metrics to be added up over micro-batches and processes; names that end in _max are maxima."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything a mini-batch's gradient is taken of."""

    samples: Sequence[ProblemSamples]
    own: OwnResponses
    targets: list[Target]
    delta: float | None

    def alphas(self) -> list[float]:
        """The weight of each problem; 0 where nothing is distilled."""
        alphas = {target.problem: target.alpha for target in self.targets}
        return [alphas.get(index, 0.0) for index in range(len(self.samples))]


class SgpoGradient:
    """Accumulates the gradient of Eq. 7 for one sampled batch, over micro-batches and processes.

    Denominators are global: `problems` counts the problems of all processes, so the same batch gives the same
    gradient however it is split.
    """

    def __init__(self, policy: Policy, config: TrainingConfig, world: World, pad_id: int) -> None:
        self.policy, self.config, self.world, self.pad_id = policy, config, world, pad_id
        self.objective, self.temperature = config.objective, config.sampling.temperature
        self.tokens_per_microbatch = config.tokens_per_microbatch
        self.old_policy_is_samplers = config.overlap and self.objective.importance_cap is None
        """Rollouts are a step old and Eq. 1's ratio corrects it; with a cap truncated importance sampling does."""

    def prepare(self, samples: Sequence[ProblemSamples], run_seed: int, step: int) -> Prepared:
        """Advantages of the autonomous groups [Eq. 1], and targets and weights of the guided ones [Eqs. 2, 4, 6]."""

        def target_seed(problem_id: str) -> int:
            return derive_seed(run_seed, step, problem_id, "target", 0)

        def score(candidates: list[tuple[int, Rollout]]) -> list[float]:
            return self._score(samples, candidates)

        own = score_responses(samples, self.config)
        if self.old_policy_is_samplers:
            for item in own.scored:
                item.old_logprobs = torch.tensor(item.rollout.logprobs, device=self.world.device)
        targets = choose_targets(samples, self.objective, score, target_seed)
        delta = annealed_delta(self.objective.delta, self.objective.delta_end, step, self.config.steps)
        return Prepared(samples, own, targets, delta)

    def accumulate(self, prepared: Prepared, problems: int) -> Sums:
        """Backward of L_GRPO + alpha L_KD over `problems` problems [Eq. 7]; returns sums of this process's metrics."""
        sums: Sums = defaultdict(float)
        own = prepared.own
        tokens = self.world.sum({"tokens": float(own.tokens)})["tokens"]
        for rows in self._microbatches([item.row for item in own.scored], sums):
            self._autonomous(rows, own.scored, tokens, problems, sums)
        if self.objective.expert != "none":
            for rows in self._microbatches([item.row for item in own.experts], sums):
                self._imitate(rows, own.experts, tokens, problems, sums)
        if self.objective.distillation != "none":
            guided_hidden = self._guided_hidden(prepared, sums)
            rows = [
                Row(prepared.samples[target.problem].autonomous_prompt, target.rollout.token_ids, key)
                for key, target in enumerate(prepared.targets)
            ]
            for batch_rows in self._microbatches(rows, sums):
                self._distill(batch_rows, prepared, guided_hidden, problems, sums)
        return sums

    def remember_old_policy(self, prepared: Prepared) -> None:
        """Keep log pi_old of every rollout from the trainer's own forward, for several mini-batches per batch."""
        scored = prepared.own.scored
        for rows, batch in self._forward_only([item.row for item in scored]):
            logprobs_BR = self.policy.logprobs(batch, self.temperature)
            for row, logprobs_R in zip(rows, logprobs_BR, strict=False):
                scored[row.key].old_logprobs = logprobs_R[: len(row.response)]

    def _autonomous(self, rows: list[Row], scored: Sequence[Scored], tokens: float, problems: int, sums: Sums) -> None:
        batch = self._batch(rows)
        if not rows:
            self.policy.no_loss(batch).backward()
            return
        mine, objective = [scored[row.key] for row in rows], self.objective
        weights = self._row_weights(mine, tokens, problems)
        advantages = [item.advantage for item in mine]
        sampler_N = batch.per_token([value for item in mine for value in item.rollout.logprobs])
        olds = [item.old_logprobs for item in mine if item.old_logprobs is not None]
        old_N = torch.cat(olds) if olds else None
        token_loss = grpo_tokens(
            objective, spread(advantages, batch, mean=False),
            spread(weights, batch, mean=objective.normalization == "sequence"), old_N, sampler_N,
            objective.entropy_coefficient / max(1.0, tokens),
        )  # fmt: skip
        loss, logprobs_BR, entropy_BR = self.policy.logprob_loss(batch, token_loss, self.temperature)
        loss.backward()
        old_BR = logprobs_BR if old_N is None else batch.unflatten(old_N)
        sampler_BR, capped = batch.unflatten(sampler_N.to(logprobs_BR.dtype)), {}
        if objective.importance_cap is not None:
            _, capped = truncated_importance(old_BR, sampler_BR, batch.mask_BR, objective.importance_cap)
        _, metrics = grpo_row_losses(
            logprobs_BR, old_BR, logprobs_BR.new_tensor(advantages), batch.mask_BR, objective.clip_low,
            objective.clip_high, objective.normalization,
        )  # fmt: skip
        mismatch = sampler_mismatch_kl(logprobs_BR, sampler_BR, batch.mask_BR)
        mismatch["sampler_ratio_max"] = (logprobs_BR.detach() - sampler_BR)[batch.mask_BR].max().exp()
        _add(sums, {"loss": loss, "grpo_loss": loss, "entropy_sum": entropy_BR.sum()}, metrics, mismatch, capped)

    def _imitate(self, rows: list[Row], experts: Sequence[Expert], tokens: float, problems: int, sums: Sums) -> None:
        """The strong model's own responses, for the baselines LUFFY and HPT."""
        batch = self._batch(rows)
        if not rows:
            self.policy.no_loss(batch).backward()
            return
        mine, objective = [experts[row.key] for row in rows], self.objective
        if objective.expert == "luffy":
            weights = self._row_weights(mine, tokens, problems)
            token_loss = luffy_tokens(
                objective, spread([item.advantage or 0.0 for item in mine], batch, mean=False),
                spread(weights, batch, mean=objective.normalization == "sequence"),
            )  # fmt: skip
        else:
            token_loss = supervised_tokens(spread([objective.expert_coefficient / problems] * len(rows), batch, True))
        loss, _, _ = self.policy.logprob_loss(batch, token_loss, self.temperature)
        loss.backward()
        _add(sums, {"loss": loss, "expert_loss": loss})
        sums["experts"] += len(rows)

    def _row_weights(self, mine: Sequence[Scored] | Sequence[Expert], tokens: float, problems: int) -> list[float]:
        """What each row's loss is multiplied by: over one whole batch these are the `outer_denominator`."""
        objective, length = self.objective, self.config.sampling.max_new_tokens
        if objective.normalization == "token":
            return [1.0 / outer_denominator("token", 0.0, tokens)] * len(mine)
        return [item.share / outer_denominator(objective.normalization, problems, tokens, length) for item in mine]

    def _distill(
        self, rows: list[Row], prepared: Prepared, guided_hidden: dict[int, torch.Tensor], problems: int, sums: Sums
    ) -> None:
        batch = self._batch(rows)
        if not rows:
            self.policy.no_loss(batch).backward()
            return
        mine = [prepared.targets[row.key] for row in rows]
        weights_N = spread([target.alpha * target.share / problems for target in mine], batch, mean=True)
        metrics: dict[str, torch.Tensor] = {}
        if self.objective.distillation == "sft":
            loss, _, _ = self.policy.logprob_loss(batch, supervised_tokens(weights_N), self.temperature)
        else:
            token_loss = distillation_tokens(self.objective, prepared.delta, weights_N)
            hidden_ND = torch.cat([guided_hidden[row.key] for row in rows])
            loss, kl_BR = self.policy.divergence_loss(
                batch, hidden_ND, token_loss, self.temperature, reverse=self.objective.distillation == "reverse_kl"
            )
            _, metrics = clipped_kd_loss(kl_BR, batch.mask_BR, prepared.delta, self.objective.clipping)
        loss.backward()
        _add(sums, {"loss": loss, "kd_loss": loss}, metrics)

    def _guided_hidden(self, prepared: Prepared, sums: Sums) -> dict[int, torch.Tensor]:
        """Hidden states of each target with the strategy in context: the stop-gradient side of Eq. 3."""
        if self.objective.distillation == "sft":
            return {}
        rows = [
            Row(prepared.samples[target.problem].guided_prompt, target.rollout.token_ids, key)
            for key, target in enumerate(prepared.targets)
        ]
        hidden: dict[int, torch.Tensor] = {}
        for batch_rows, batch in self._forward_only(rows, sums):
            hidden_ND = self.policy.hidden(batch)
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
            logprobs_BR = self.policy.logprobs(batch, self.temperature)
            for row, value in zip(batch_rows, logprobs_BR.double().sum(dim=1).tolist(), strict=False):
                scores[row.key] = value
        return scores

    def _forward_only(self, rows: list[Row], sums: Sums | None = None) -> Iterator[tuple[list[Row], TokenBatch]]:
        for batch_rows in self._microbatches(rows, sums):
            with torch.no_grad():
                yield batch_rows, self._batch(batch_rows)

    def _microbatches(self, rows: list[Row], sums: Sums | None = None) -> Iterator[list[Row]]:
        groups = split_rows(rows, self.tokens_per_microbatch)
        if sums is not None:
            sums["padded_tokens"] += sum(len(group) * len(group[0]) for group in groups)
            sums["padding_tokens"] += sum(len(group[0]) - len(row) for group in groups for row in group)
        return in_step(groups, self.world)

    def _batch(self, rows: list[Row]) -> TokenBatch:
        longest = max(rows, key=len, default=None)
        limit = getattr(self.policy.model.config, "max_position_embeddings", None)
        if longest is not None and limit is not None and len(longest) > limit:
            raise PromptTooLongError(
                f"a prompt of {len(longest.prompt)} and a response of {len(longest.response)} tokens do not fit the "
                f"model's {limit} positions, and are not cut (expected a smaller training.sampling.max_new_tokens or "
                "shorter prompts)"
            )
        placeholder = Row((self.pad_id,), (self.pad_id,), -1)
        return make_batch(rows or [placeholder], self.pad_id, self.world.device)


def _add(sums: Sums, *metrics: dict[str, torch.Tensor]) -> None:
    for group in metrics:
        for name, value in group.items():
            if name.endswith("_max"):
                sums[name] = max(sums.get(name, 0.0), float(value))
            else:
                sums[name] += float(value.detach())
