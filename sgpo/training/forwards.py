"""What a step reads off policy and guide without gradient: pi_old, scores of candidates, the guide's side of Eq. 3."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sgpo.algorithms.base import Algorithm
from sgpo.algorithms.rows import Row, TrainRow
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.guides import Guide
from sgpo.training.metrics import MetricSums
from sgpo.training.microbatches import Microbatches
from sgpo.training.policy import Policy
from sgpo.vocabulary.shifts import Shifts


@dataclass(frozen=True, slots=True)
class Guided:
    """The guide's side of Eq. 3: hidden states by row index, and its output projection where it has its own, [V, D]."""

    hidden: dict[int, torch.Tensor]
    weight_VD: torch.Tensor | None


class Forwards:
    """Forwards without gradient over micro-batches; every method is collective, results are by row index."""

    def __init__(
        self, policy: Policy, guide: Guide, algorithm: Algorithm, microbatches: Microbatches, temperature: float
    ) -> None:
        """Take what is read from; `temperature` is that of the method."""
        self.policy, self.guide, self.algorithm = policy, guide, algorithm
        self.microbatches, self.temperature = microbatches, temperature

    def logprobs(self, rows: Sequence[Row]) -> dict[int, torch.Tensor]:
        """Return the log-probabilities of each row's response under the policy as it is now, [|o|]."""
        found: dict[int, torch.Tensor] = {}
        for micro_rows, batch in self.microbatches.without_gradient(rows):
            logprobs_BR = self.policy.logprobs(batch, self.temperature)
            for row, logprobs_R in zip(micro_rows, logprobs_BR, strict=False):  # the idle batch has a row of its own
                found[row.index] = logprobs_R[: len(row.response)]
        return found

    def score(self, candidates: Sequence[tuple[ProblemSamples, Rollout]]) -> list[float]:
        """Return sum_t log pi_theta(g_t | q, g_<t) of each candidate, without the strategy [SGPO Eq. 4]."""
        rows = [
            Row(problem.autonomous_prompt, rollout.token_ids, index)
            for index, (problem, rollout) in enumerate(candidates)
        ]
        logprobs = self.logprobs(rows)
        sums = [logprobs[row.index].double().sum() for row in rows]
        return torch.stack(sums).tolist() if sums else []

    def guided(self, rows: Sequence[TrainRow], sums: MetricSums | None = None) -> Guided:
        """Return the stop-gradient side of Eq. 3 of each row that has a guide."""
        hidden = self._hidden([Row(row.guide, row.response, row.index) for row in rows if row.guide is not None], sums)
        if self.algorithm.contrasts:
            contrasted = [(row, row.contrast) for row in rows if row.contrast is not None]
            alone = self._hidden([Row(row.prompt, row.response, row.index) for row, _ in contrasted], sums)
            wrong = self._hidden([Row(contrast, row.response, row.index) for row, contrast in contrasted], sums)
            # Logits are linear in hidden states: log p = log pi(. | q) + log pi(. | q, s) - log pi(. | q, s') + const.
            hidden |= {index: hidden[index] + alone[index] - wrong[index] for index in wrong}
        return Guided(hidden, self.guide.projection())

    def shifts(self, rows: Sequence[TrainRow], top: int) -> dict[int, Shifts]:
        """Return what the guide changes at the tokens of rows that have one."""
        guided, found = self.guided(rows), dict[int, Shifts]()
        for micro_rows, batch in self.microbatches.without_gradient(rows):
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

    def _hidden(self, rows: Sequence[Row], sums: MetricSums | None) -> dict[int, torch.Tensor]:
        """Return the guide's hidden states of each row's response, [|o|, D]."""
        hidden: dict[int, torch.Tensor] = {}
        for micro_rows, batch in self.microbatches.without_gradient(rows, sums):
            hidden_ND = self.guide.hidden(batch)
            spans = hidden_ND.split([len(row.response) for row in micro_rows]) if micro_rows else ()
            hidden.update({row.index: span for row, span in zip(micro_rows, spans, strict=True)})
        return hidden
