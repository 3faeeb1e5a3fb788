"""What passes between a method and the training loop: rows to train on, and the tokens whose loss is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sgpo.objectives.normalization import Normalization

if TYPE_CHECKING:
    import torch


Kind = Literal["policy", "expert", "imitation", "distillation"]
KINDS: tuple[Kind, ...] = ("policy", "expert", "imitation", "distillation")
"""What a row is to the loss; a micro-batch may have rows of several kinds, whose losses are asked for in this order.

policy: a response of the policy itself, with an advantage. expert: a strong model's response as a member of the group.
imitation: one whose cross-entropy is taken instead. distillation: a guided response, in the context without strategy.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One response in one context, as token ids; `index` is its place in the list it belongs to."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    index: int

    def __post_init__(self) -> None:
        if not self.prompt or not self.response:
            raise ValueError(
                f"row {self.index}: prompt has {len(self.prompt)} and response {len(self.response)} tokens"
            )

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True, slots=True)
class TrainRow(Row):
    """One response to train on.

    The loss of the row enters that of its problem with `weight`: 1/G1 of Eq. 1, alpha(q) of Eq. 7; `normalization`
    says what the sum over its tokens is divided by (`objectives.outer_denominator`). With `guide`, a prompt that holds
    the strategy, the loss is a function of the divergence from that context to this one [SGPO Eq. 3], else of the
    response's log-probabilities; `contrast` is a prompt with a wrong strategy, whose shift is subtracted.
    `sampler_logprobs` are those that the sampler recorded, [|o_i|]. An `idle` row has no gradient: it is counted in
    denominators and never computed.
    """

    kind: Kind
    problem: int
    weight: float
    normalization: Normalization = "sequence"
    advantage: float = 0.0
    alpha: float = 0.0
    sampler_logprobs: tuple[float, ...] = ()
    guide: tuple[int, ...] | None = None
    contrast: tuple[int, ...] | None = None
    idle: bool = False

    @property
    def is_member(self) -> bool:
        """Return whether it is a member of its problem's group, whose tokens a token mean is taken over."""
        return self.kind in ("policy", "expert")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Response tokens of rows of one kind, [C] each: what the loss of a token may depend on.

    `logprobs_C` and `entropy_C` of the current policy, or `divergence_C` (d_t of Eq. 3, for rows with a guide), carry
    gradient; the others are empty. `weights_C` holds the rows' weights over all denominators: the loss of the batch is
    the sum of the losses of its tokens. `old_logprobs_C` is log pi_old, equal to `logprobs_C` where rollouts are fresh.
    `batch_tokens` counts the group members' tokens of the whole batch, over all processes.
    """

    kind: Kind
    step: int
    weights_C: torch.Tensor
    advantages_C: torch.Tensor
    logprobs_C: torch.Tensor
    entropy_C: torch.Tensor
    divergence_C: torch.Tensor
    old_logprobs_C: torch.Tensor
    sampler_logprobs_C: torch.Tensor
    batch_tokens: float
