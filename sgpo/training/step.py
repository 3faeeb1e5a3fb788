"""One sampled batch after sampling: rows of the method, micro-batches, and the gradient of its loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from sgpo.algorithms.base import Algorithm, check_rewards
from sgpo.algorithms.rows import KINDS, Kind, Row, Tokens, TrainRow
from sgpo.config import TrainingConfig
from sgpo.objectives import outer_denominator
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.batches import RowT, TokenBatch, idle_batch, in_lockstep
from sgpo.training.layouts import layout_for
from sgpo.training.metrics import MetricSums
from sgpo.training.policy import DivergencePart, LogprobPart, LossPart, Policy
from sgpo.training.recovery.memory import MicrobatchBudget
from sgpo.training.world import World
from sgpo.vocabulary.shifts import Shifts

LOSS_NAMES: dict[Kind, str] = {
    "policy": "grpo_loss", "expert": "expert_loss", "imitation": "expert_loss", "distillation": "kd_loss",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimiser step is taken of, on this process; `old_logprobs` by row index, where pi_old is remembered."""

    samples: Sequence[ProblemSamples]
    rows: list[TrainRow]
    step: int
    old_logprobs: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Denominators:
    """What losses are divided by: counts over all processes, so that the gradient does not depend on the split."""

    problems: int
    tokens: float
    longest_response: int

    def of(self, row: TrainRow) -> float:
        """Return what the row's loss is multiplied by in the batch's [SGPO Eqs. 1, 7]."""
        if row.normalization == "token":
            return 1.0 / outer_denominator("token", 0.0, self.tokens)
        return row.weight / outer_denominator(row.normalization, self.problems, self.tokens, self.longest_response)


@dataclass(frozen=True, slots=True)
class Guided:
    """The guide's side of Eq. 3: hidden states by row index, and its output projection where it has its own, [V, D]."""

    hidden: dict[int, torch.Tensor]
    weight_VD: torch.Tensor | None


class Gradient:
    """Accumulates the gradient of a method's loss [SGPO Eq. 7] over micro-batches and processes."""

    def __init__(
        self, policy: Policy, algorithm: Algorithm, training: TrainingConfig, world: World, pad_id: int,
        budget: MicrobatchBudget | None = None,
    ) -> None:  # fmt: skip
        """Take the policy as training began from it; without `budget`, memory is taken to suffice."""
        self.policy, self.algorithm, self.training, self.world, self.pad_id = policy, algorithm, training, world, pad_id
        self.guide, self.temperature = algorithm.guide(policy), training.sampling.temperature
        self.budget = budget or MicrobatchBudget(training.tokens_per_microbatch, None, world)
        self.layout = layout_for(policy.model, training.shared_prompts)
        self.old_policy_is_samplers = training.overlap and not algorithm.corrects_sampler

    def minibatches(self, samples: Sequence[ProblemSamples], step: int, problems: int) -> list[Minibatch]:
        """Return this process's mini-batches of a sampled batch of `problems` problems in all, with their rows.

        Which problems a mini-batch has does not depend on the number of processes. With several, pi_old is the policy
        before the first one's optimiser step, by the trainer's own forward.
        """
        parts = split_samples(samples, self.training.minibatches, self.world, problems)
        minibatches = self.budget.run(self.policy, lambda: [self._minibatch(part, step) for part in parts])
        if len(parts) > 1 and not self.old_policy_is_samplers:
            for minibatch in minibatches:
                self.budget.run(self.policy, lambda minibatch=minibatch: self._remember_old_policy(minibatch))
        return minibatches

    def accumulate(self, minibatch: Minibatch) -> MetricSums:
        """Add the mini-batch's gradient to the policy's; returns sums of this process's metrics."""
        return self.budget.run(self.policy, lambda: self._accumulate(minibatch))

    def _minibatch(self, samples: Sequence[ProblemSamples], step: int) -> Minibatch:
        check_rewards(samples)
        return Minibatch(samples, self.algorithm.rows(samples, self._score, step), step)

    def _accumulate(self, minibatch: Minibatch) -> MetricSums:
        sums = MetricSums()
        members = sum(len(row.response) for row in minibatch.rows if row.is_member)
        counts = self.world.sum({"problems": float(len(minibatch.samples)), "tokens": float(members)})
        longest = self.training.sampling.max_new_tokens
        denominators = Denominators(max(1, int(counts["problems"])), counts["tokens"], longest)
        rows = [row for row in minibatch.rows if not row.idle]
        guided = self._guided(rows, sums)
        for micro_rows in self._microbatches(rows, sums):
            if micro_rows:
                self._backward(micro_rows, minibatch, denominators, guided, sums)
            else:
                self.policy.no_loss(idle_batch(self.pad_id, self.world.device)).backward()
        alphas = {row.problem: row.alpha for row in minibatch.rows if row.kind == "distillation"}
        sums.add_alphas([alphas.get(place, 0.0) for place in range(len(minibatch.samples))], self.algorithm)
        sums["targets"] += sum(row.kind == "distillation" for row in minibatch.rows)
        return sums

    def _backward(
        self, rows: list[TrainRow], minibatch: Minibatch, denominators: Denominators,
        guided: Guided, sums: MetricSums,
    ) -> None:  # fmt: skip
        """Backward of one micro-batch: one forward of its rows, and a loss for each kind of row in it [SGPO Eq. 7]."""
        batch = self._batch(rows)
        kinds: list[Kind] = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
        parts = []
        for kind in kinds:
            members = [row for row in rows if row.kind == kind]
            places_M = batch.places([row.kind == kind for row in rows])
            parts.append(self._part(kind, members, places_M, minibatch, denominators, guided, sums))
        losses = self.policy.losses(batch, parts, self.temperature)
        loss = torch.stack(losses).sum()
        loss.backward()
        sums.add({"loss": loss})
        for kind, part_loss in zip(kinds, losses, strict=True):
            sums.add({LOSS_NAMES[kind]: part_loss})
        sums["experts"] += sum(row.kind in ("expert", "imitation") for row in rows)

    def _part(
        self, kind: Kind, rows: list[TrainRow], places_M: torch.Tensor | None, minibatch: Minibatch,
        denominators: Denominators, guided: Guided, sums: MetricSums,
    ) -> LossPart:  # fmt: skip
        """Return what the method's loss of these rows, all of one kind, is asked by: chunk by chunk of their tokens."""
        device = self.world.device
        lengths = [len(row.response) if row.normalization == "sequence" else 1 for row in rows]
        weights = [denominators.of(row) / length for row, length in zip(rows, lengths, strict=True)]
        weights_M, advantages_M = (
            _per_token(rows, weights, device),
            _per_token(rows, [row.advantage for row in rows], device),
        )
        sampler = [value for row in rows for value in row.sampler_logprobs]
        sampler_M = torch.tensor(sampler, dtype=torch.float64, device=device)
        old_M = self._old_logprobs(rows, sampler_M, minibatch)

        def ask(values_C: torch.Tensor, span: slice, **carrying: torch.Tensor) -> torch.Tensor:
            none_C, same = values_C.new_empty(0), values_C.dtype
            old_C = values_C.detach() if old_M is None else old_M[span]
            tokens = Tokens(
                kind, minibatch.step, weights_M[span].to(same), advantages_M[span].to(same),
                **{"logprobs_C": none_C, "entropy_C": none_C, "divergence_C": none_C, **carrying},
                old_logprobs_C=old_C, sampler_logprobs_C=sampler_M[span].to(old_C.dtype),
                batch_tokens=denominators.tokens,
            )  # fmt: skip
            loss_C, metrics = self.algorithm.token_loss(tokens)
            sums.add(metrics)
            return loss_C

        if rows[0].guide is None:
            return LogprobPart(
                places_M, lambda logp_C, entropy_C, span: ask(logp_C, span, logprobs_C=logp_C, entropy_C=entropy_C)
            )
        return DivergencePart(
            places_M,
            lambda kl_C, span: ask(kl_C, span, divergence_C=kl_C),
            torch.cat([guided.hidden[row.index] for row in rows]),
            guided.weight_VD,
            self.algorithm.reverse_divergence,
        )

    def _old_logprobs(self, rows: list[TrainRow], sampler_M: torch.Tensor, minibatch: Minibatch) -> torch.Tensor | None:
        """Return log pi_old of the rows' tokens, [M]; None where it is the current policy: the ratio of Eq. 1 is 1."""
        if rows[0].kind == "policy" and self.old_policy_is_samplers:
            return sampler_M.float()
        remembered = [minibatch.old_logprobs[row.index] for row in rows if row.index in minibatch.old_logprobs]
        return torch.cat(remembered) if remembered else None

    def _remember_old_policy(self, minibatch: Minibatch) -> None:
        rows = [row for row in minibatch.rows if row.kind == "policy" and not row.idle]
        for micro_rows, batch in self._forward_only(rows):
            logprobs_BR = self.policy.logprobs(batch, self.temperature)
            for row, logprobs_R in zip(micro_rows, logprobs_BR, strict=False):
                minibatch.old_logprobs[row.index] = logprobs_R[: len(row.response)]

    def _guided(self, rows: list[TrainRow], sums: MetricSums | None = None) -> Guided:
        """Return the stop-gradient side of Eq. 3 of each row that has a guide."""
        hidden = self._read([Row(row.guide, row.response, row.index) for row in rows if row.guide is not None], sums)
        if self.algorithm.contrasts:
            contrasted = [(row, row.contrast) for row in rows if row.contrast is not None]
            alone = self._read([Row(row.prompt, row.response, row.index) for row, _ in contrasted], sums)
            wrong = self._read([Row(contrast, row.response, row.index) for row, contrast in contrasted], sums)
            # Logits are linear in hidden states: log p = log pi(. | q) + log pi(. | q, s) - log pi(. | q, s') + const.
            hidden |= {index: hidden[index] + alone[index] - wrong[index] for index in wrong}
        return Guided(hidden, self.guide.projection())

    def _read(self, rows: list[Row], sums: MetricSums | None) -> dict[int, torch.Tensor]:
        """Return the guide's hidden states of each row's response by row index, [|o|, D]; collective."""
        hidden: dict[int, torch.Tensor] = {}
        for micro_rows, batch in self._forward_only(rows, sums):
            hidden_ND = self.guide.hidden(batch)
            spans = hidden_ND.split([len(row.response) for row in micro_rows]) if micro_rows else ()
            hidden.update({row.index: span for row, span in zip(micro_rows, spans, strict=True)})
        return hidden

    def shifts(self, rows: list[TrainRow], top: int) -> dict[int, Shifts]:
        """Return what the guide changes at the tokens of rows that have one, by row index; collective, no gradient."""
        return self.budget.run(self.policy, lambda: self._shifts(rows, top))

    def _shifts(self, rows: list[TrainRow], top: int) -> dict[int, Shifts]:
        guided, found = self._guided(rows), dict[int, Shifts]()
        for micro_rows, batch in self._forward_only(rows):
            if not micro_rows:  # other processes have rows, and forward is collective
                self.policy.hidden(batch)
                continue
            shifts = self.policy.shifts(
                batch, torch.cat([guided.hidden[row.index] for row in micro_rows]), guided.weight_VD,
                top=top, temperature=self.temperature, reverse=self.algorithm.reverse_divergence,
            )  # fmt: skip
            of_rows = shifts.rows([len(row.response) for row in micro_rows])
            found.update({row.index: one for row, one in zip(micro_rows, of_rows, strict=True)})
        return found

    def _score(self, candidates: list[tuple[ProblemSamples, Rollout]]) -> list[float]:
        """Return sum_t log pi_theta(g_t | q, g_<t) of each candidate, without the strategy [SGPO Eq. 4]."""
        rows = [
            Row(problem.autonomous_prompt, rollout.token_ids, index)
            for index, (problem, rollout) in enumerate(candidates)
        ]
        scores = [0.0] * len(rows)
        for micro_rows, batch in self._forward_only(rows):
            logprobs_BR = self.policy.logprobs(batch, self.temperature)
            for row, value in zip(micro_rows, logprobs_BR.double().sum(dim=1).tolist(), strict=False):
                scores[row.index] = value
        return scores

    def _forward_only(
        self, rows: list[RowT], sums: MetricSums | None = None
    ) -> Iterator[tuple[list[RowT], TokenBatch]]:
        for micro_rows in self._microbatches(rows, sums):
            with torch.no_grad():
                yield (
                    micro_rows,
                    self._batch(micro_rows) if micro_rows else idle_batch(self.pad_id, self.world.device),
                )

    def _microbatches(self, rows: list[RowT], sums: MetricSums | None = None) -> Iterator[list[RowT]]:
        groups = self.layout.split(rows, self.budget.tokens)
        if sums is not None:
            for computed, padding in map(self.layout.size, groups):
                sums["padded_tokens"] += computed
                sums["padding_tokens"] += padding
        return in_lockstep(groups, self.world)

    def _batch(self, rows: list[RowT]) -> TokenBatch[RowT]:
        longest = max(rows, key=len)
        limit = getattr(self.policy.model.config, "max_position_embeddings", None)
        if limit is not None and len(longest) > limit:
            raise PromptTooLongError(
                f"a prompt of {len(longest.prompt)} and a response of {len(longest.response)} tokens do not fit the "
                f"model's {limit} positions, and are not cut (expected a smaller training.sampling.max_new_tokens or "
                "shorter prompts)"
            )
        return self.layout.batch(rows, self.pad_id, self.world.device)


def split_samples(
    samples: Sequence[ProblemSamples], parts: int, world: World, problems: int
) -> list[list[ProblemSamples]]:
    """Return this process's samples of each mini-batch; which problems those have does not depend on the processes."""
    members: list[list[ProblemSamples]] = [[] for _ in range(parts)]
    for place, sample in zip(world.shard(range(problems)), samples, strict=True):
        members[place * parts // problems].append(sample)
    return members


def _per_token(rows: Sequence[TrainRow], values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Return a number per row as one per response token, in float64."""
    lengths_B = torch.tensor([len(row.response) for row in rows])
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(lengths_B).to(device)
