"""One sampled response and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["autonomous", "guided"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Response:
    """What an engine returns for one prompt and seed.

    `token_ids` are the sampled tokens, the end token included when it was sampled; `logprobs` has one value per token:
    the log-probability under the full softmax at the sampling temperature, before top-p. `finish_reason` is "stop" when
    the end token was sampled and "length" when the limit of new tokens was reached first. `policy_step` is the
    optimiser step whose weights drew it, None when the engine was never told.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_step: int | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A verified response, with the group it belongs to and the policy step that drew it."""

    problem_id: str
    group: Group
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    reward: float
    seed: int
    policy_step: int
