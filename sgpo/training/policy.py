"""The student: a causal language model that is asked for log-probabilities and losses, never for logits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from sgpo.objectives import (
    DivergenceLoss,
    LogprobLoss,
    linear_divergence_loss,
    linear_logprob_loss,
    linear_token_logprobs,
)
from sgpo.training.batches import TokenBatch
from sgpo.training.checkpoints.sharded_state import to_shards
from sgpo.training.lora import BaseWeights, merged_tensors
from sgpo.training.masks import added
from sgpo.vocabulary.shifts import Shifts, linear_shifts


@dataclass(frozen=True, slots=True)
class LogprobPart:
    """Response tokens whose loss is a function of their log-probabilities and entropies.

    `places_M` says which of a batch's N response tokens they are; None stands for all.
    """

    places_M: torch.Tensor | None
    token_loss: LogprobLoss


@dataclass(frozen=True, slots=True)
class DivergencePart:
    """Response tokens whose loss is a function of d_t, from the guide's context to the batch's [SGPO Eq. 3].

    The guide is given by its hidden states, [M, D], and by its output projection where that is not the policy's.
    """

    places_M: torch.Tensor | None
    token_loss: DivergenceLoss
    guide_hidden_MD: torch.Tensor
    guide_weight_VD: torch.Tensor | None = None
    reverse: bool = False


LossPart = LogprobPart | DivergencePart


class Policy(nn.Module):
    """Wraps a causal language model so that everything that touches the output projection happens inside `forward`.

    Under FSDP2 the projection's weight is whole only there. N counts the response tokens of a batch, row after row.
    `base` says what is frozen under the model's adapters; without adapters it is None.
    """

    def __init__(self, model: PreTrainedModel, base: BaseWeights | None = None) -> None:
        super().__init__()
        self.model, self.base = model, base

    def forward(self, batch: TokenBatch, want: Literal["hidden", "logprobs", "losses", "shifts"], **settings) -> tuple:
        """Dispatch to the function that is wanted: what is called through `forward` is whole under FSDP2."""
        wanted = {"hidden": self._hidden, "logprobs": self._logprobs, "losses": self._losses, "shifts": self._shifts}
        return wanted[want](batch, **settings)

    def hidden(self, batch: TokenBatch) -> torch.Tensor:
        """Return the hidden states that predict the response tokens, [N, D]."""
        return self(batch, "hidden")[0]

    def logprobs(self, batch: TokenBatch, temperature: float = 1.0) -> torch.Tensor:
        """Return log-probabilities of the response tokens under the full softmax at `temperature`, [B, R]."""
        return self(batch, "logprobs", temperature=temperature)[0]

    def losses(
        self, batch: TokenBatch, parts: Sequence[LossPart], temperature: float = 1.0
    ) -> tuple[torch.Tensor, ...]:
        """Return the sum of each part's `token_loss` over its tokens, scalars with gradient, from one forward."""
        return self(batch, "losses", parts=parts, temperature=temperature)

    def shifts(
        self, batch: TokenBatch, guide_hidden_ND: torch.Tensor, guide_weight_VD: torch.Tensor | None = None,
        *, top: int, temperature: float = 1.0, reverse: bool = False,
    ) -> Shifts:  # fmt: skip
        """Return what the guide, given as in `DivergencePart`, changes at each response token; without gradient."""
        guide = {"guide_hidden_ND": guide_hidden_ND, "guide_weight_VD": guide_weight_VD, "reverse": reverse}
        with torch.no_grad():
            return self(batch, "shifts", top=top, temperature=temperature, **guide)[0]

    def logprob_loss(self, batch: TokenBatch, token_loss: LogprobLoss, temperature: float = 1.0) -> torch.Tensor:
        """Return the sum of `token_loss` over all response tokens, a scalar with gradient."""
        return self.losses(batch, [LogprobPart(None, token_loss)], temperature)[0]

    def no_loss(self, batch: TokenBatch) -> torch.Tensor:
        """Return exactly zero, with a gradient of exactly zero: a process without rows joins the collectives."""
        return self.logprob_loss(batch, lambda logprobs_C, entropy_C, span: 0.0 * logprobs_C)

    def projection(self) -> torch.Tensor:
        """Return the output projection's weight, [V, D]; whole under FSDP2 only inside `forward`."""
        projection = self.model.get_output_embeddings()
        assert projection is not None
        return projection.get_parameter("weight")

    def merged_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (name, whole tensor) of the model's parameters as they are now; see `lora.merged_tensors`.

        Collective. What a forward without backward has left gathered is let go first: it may be older than the shards.
        """
        to_shards(self)
        return merged_tensors(self.model)

    def _hidden(self, batch: TokenBatch) -> tuple[torch.Tensor]:
        hidden_BTD = self.model.get_decoder()(
            input_ids=batch.input_ids_BT, attention_mask=added(batch.attention_mask_BT, self.model.dtype),
            position_ids=batch.position_ids_BT, use_cache=False,
        ).last_hidden_state  # fmt: skip
        return (hidden_BTD[batch.row_index_N, batch.column_index_N],)

    def _logprobs(self, batch: TokenBatch, temperature: float) -> tuple[torch.Tensor]:
        (hidden_ND,) = self._hidden(batch)
        logprobs_N, _ = linear_token_logprobs(hidden_ND, self.projection(), batch.targets_N, temperature)
        return (batch.unflatten(logprobs_N),)

    def _losses(self, batch: TokenBatch, parts: Sequence[LossPart], temperature: float) -> tuple[torch.Tensor, ...]:
        (hidden_ND,) = self._hidden(batch)
        return tuple(self._loss(hidden_ND, batch.targets_N, part, temperature) for part in parts)

    def _shifts(
        self, batch: TokenBatch, guide_hidden_ND: torch.Tensor, guide_weight_VD: torch.Tensor | None,
        top: int, temperature: float, reverse: bool,
    ) -> tuple[Shifts]:  # fmt: skip
        (hidden_ND,), weight_VD = self._hidden(batch), self.projection()
        guide_VD = None if guide_weight_VD is None else guide_weight_VD.to(weight_VD)
        shifts = linear_shifts(
            hidden_ND, guide_hidden_ND, weight_VD, batch.targets_N, top, temperature, reverse=reverse,
            teacher_weight_VD=guide_VD,
        )  # fmt: skip
        return (shifts,)

    def _loss(
        self, hidden_ND: torch.Tensor, targets_N: torch.Tensor, part: LossPart, temperature: float
    ) -> torch.Tensor:
        places = slice(None) if part.places_M is None else part.places_M
        weight_VD = self.projection()
        if isinstance(part, LogprobPart):
            return linear_logprob_loss(hidden_ND[places], weight_VD, targets_N[places], part.token_loss, temperature)[0]
        guide_VD = None if part.guide_weight_VD is None else part.guide_weight_VD.to(weight_VD)
        return linear_divergence_loss(
            hidden_ND[places], part.guide_hidden_MD, weight_VD, part.token_loss, temperature, reverse=part.reverse,
            teacher_weight_VD=guide_VD,
        )[0]  # fmt: skip
