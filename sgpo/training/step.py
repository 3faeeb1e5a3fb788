"""One sampled batch after sampling: rows of the method, micro-batches, and the gradient of its loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from sgpo.algorithms.base import Algorithm, check_rewards
from sgpo.algorithms.rows import KINDS, Kind, Tokens, TrainRow
from sgpo.config import TrainingConfig
from sgpo.objectives import outer_denominator
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.forwards import Forwards, Guided
from sgpo.training.guides import Guide
from sgpo.training.main_memory import keep_freed_memory
from sgpo.training.metrics import MetricSums
from sgpo.training.microbatches import Microbatches
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


class Gradient:
    """Accumulates the gradient of a method's loss [SGPO Eq. 7] over micro-batches and processes."""

    def __init__(
        self, policy: Policy, algorithm: Algorithm, training: TrainingConfig, world: World, pad_id: int,
        budget: MicrobatchBudget | None = None,
    ) -> None:  # fmt: skip
        """Take the policy as training began from it; without `budget`, memory is taken to suffice."""
        self.policy, self.algorithm, self.training, self.world = policy, algorithm, training, world
        self.temperature = algorithm.temperature
        self.budget = budget or MicrobatchBudget(training.tokens_per_microbatch, None, world)
        self.microbatches = Microbatches(policy, training.shared_prompts, self.budget, world, pad_id)
        self.forwards = Forwards(policy, algorithm.guide(policy), algorithm, self.microbatches, self.temperature)
        keep_freed_memory(world.device)
        self.old_policy_is_samplers = training.overlap and not algorithm.corrects_sampler

    @property
    def guide(self) -> Guide:
        """Return whose weights read the prompts with the strategy."""
        return self.forwards.guide

    def minibatches(self, samples: Sequence[ProblemSamples], step: int, problems: int) -> list[Minibatch]:
        """Return this process's mini-batches of a sampled batch of `problems` problems in all, with their rows.

        Which problems a mini-batch has does not depend on the number of processes. With several, pi_old is the policy
        before the first one's optimiser step, by the trainer's own forward.
        """
        parts = split_samples(samples, self.training.minibatches, self.world, problems)
        minibatches = self.budget.run(self.policy, lambda: [self._minibatch(part, step) for part in parts])
        if len(parts) > 1 and not self.old_policy_is_samplers:
            for minibatch in minibatches:
                self.remember_old_policy(minibatch)
        return minibatches

    def remember_old_policy(self, minibatch: Minibatch) -> None:
        """Keep the log-probabilities of the policy as it is now, of each rollout that is trained on, as pi_old's."""
        rows = [row for row in minibatch.rows if row.kind == "policy" and not row.idle]
        minibatch.old_logprobs.update(self.budget.run(self.policy, lambda: self.forwards.logprobs(rows)))

    def accumulate(self, minibatch: Minibatch) -> MetricSums:
        """Add the mini-batch's gradient to the policy's; returns sums of this process's metrics."""
        return self.budget.run(self.policy, lambda: self._accumulate(minibatch))

    def _minibatch(self, samples: Sequence[ProblemSamples], step: int) -> Minibatch:
        check_rewards(samples)
        return Minibatch(samples, self.algorithm.rows(samples, self.forwards.score, step), step)

    def _accumulate(self, minibatch: Minibatch) -> MetricSums:
        sums = MetricSums()
        members = sum(len(row.response) for row in minibatch.rows if row.is_member)
        counts = self.world.sum({"problems": float(len(minibatch.samples)), "tokens": float(members)})
        longest = self.training.sampling.max_new_tokens
        denominators = Denominators(max(1, int(counts["problems"])), counts["tokens"], longest)
        rows = [row for row in minibatch.rows if not row.idle]
        guided = self.forwards.guided(rows, sums)
        for micro_rows in self.microbatches.split(rows, sums):
            if micro_rows:
                self._backward(micro_rows, minibatch, denominators, guided, sums)
            else:
                self.policy.no_loss(self.microbatches.idle()).backward()
        alphas = {row.problem: row.alpha for row in minibatch.rows if row.kind == "distillation"}
        sums.add_alphas([alphas.get(place, 0.0) for place in range(len(minibatch.samples))], self.algorithm)
        sums["targets"] += sum(row.kind == "distillation" for row in minibatch.rows)
        return sums

    def _backward(
        self, rows: list[TrainRow], minibatch: Minibatch, denominators: Denominators,
        guided: Guided, sums: MetricSums,
    ) -> None:  # fmt: skip
        """Backward of one micro-batch: one forward of its rows, and a loss for each kind of row in it [SGPO Eq. 7]."""
        batch = self.microbatches.batch(rows)
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
        """Return the loss of these rows, all of one kind, as a function of chunks of their M tokens."""
        loss_of = self._token_loss(kind, rows, minibatch, denominators, sums)
        if rows[0].guide is None:
            return LogprobPart(
                places_M, lambda logprobs_C, entropy_C, span: loss_of(span, logprobs_C=logprobs_C, entropy_C=entropy_C)
            )
        return DivergencePart(
            places_M,
            lambda kl_C, span: loss_of(span, divergence_C=kl_C),
            torch.cat([guided.hidden[row.index] for row in rows]),
            guided.weight_VD,
            self.algorithm.reverse_divergence,
        )

    def _token_loss(
        self, kind: Kind, rows: list[TrainRow], minibatch: Minibatch, denominators: Denominators, sums: MetricSums
    ) -> Callable[..., torch.Tensor]:
        """Return (span, **computed) -> loss_C: the method's loss of the rows' tokens in `span`; adds its metrics.

        `computed` are the fields of `Tokens` that carry gradient, [C] each.
        """
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

        def loss_of(span: slice, **computed: torch.Tensor) -> torch.Tensor:
            current_C = next(iter(computed.values()))
            none_C, dtype = current_C.new_empty(0), current_C.dtype
            old_C = current_C.detach() if old_M is None else old_M[span]
            tokens = Tokens(
                kind, minibatch.step, weights_M[span].to(dtype), advantages_M[span].to(dtype),
                **{"logprobs_C": none_C, "entropy_C": none_C, "divergence_C": none_C, **computed},
                old_logprobs_C=old_C, sampler_logprobs_C=sampler_M[span].to(old_C.dtype),
                batch_tokens=denominators.tokens,
            )  # fmt: skip
            loss_C, metrics = self.algorithm.token_loss(tokens)
            sums.add(metrics)
            return loss_C

        return loss_of

    def _old_logprobs(self, rows: list[TrainRow], sampler_M: torch.Tensor, minibatch: Minibatch) -> torch.Tensor | None:
        """Return log pi_old of the rows' tokens, [M]; None where it is the current policy: the ratio of Eq. 1 is 1."""
        if rows[0].kind == "policy" and self.old_policy_is_samplers:
            return sampler_M.float()
        remembered = [minibatch.old_logprobs[row.index] for row in rows if row.index in minibatch.old_logprobs]
        return torch.cat(remembered) if remembered else None

    def shifts(self, rows: list[TrainRow], top: int) -> dict[int, Shifts]:
        """Return what the guide changes at the tokens of rows that have one, by row index; collective, no gradient."""
        return self.budget.run(self.policy, lambda: self.forwards.shifts(rows, top))


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
