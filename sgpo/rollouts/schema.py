"""What was sampled: a response, a verified rollout, and both groups of a problem."""

from dataclasses import dataclass, fields
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
    """A verified response, with the group it belongs to and the policy step that drew it.

    `extracted` is what was taken as its answer and `reason` the verdict's reason (`sgpo.problems.Verdict`; empty where
    it is not known), the length limit aside. `lenient` is the reward where any usual form of a final answer counts,
    None where that was not judged.
    """

    problem_id: str
    group: Group
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: FinishReason
    reward: float
    seed: int
    policy_step: int
    extracted: str | None = None
    reason: str = ""
    lenient: float | None = None


@dataclass(frozen=True, slots=True)
class KeptRollout(Rollout):
    """A rollout with what was asked, the gold answer and the domain, as it is kept for people to read."""

    question: str = ""
    gold: str = ""
    domain: str = "math"


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """Everything that was sampled for one problem in one step: both prompts (token ids) and both groups.

    `expert` is a strong model's own response as token ids, for the baselines that learn from it, and `expert_reward`
    its reward; `contrast_prompt` holds a wrong strategy on purpose.
    """

    problem_id: str
    autonomous_prompt: tuple[int, ...]
    guided_prompt: tuple[int, ...]
    autonomous: tuple[Rollout, ...]
    guided: tuple[Rollout, ...]
    expert: tuple[int, ...] = ()
    expert_reward: float = 1.0
    contrast_prompt: tuple[int, ...] = ()
    question: str = ""
    gold: str = ""
    domain: str = "math"

    def kept(self) -> list[KeptRollout]:
        """Return all rollouts with question, gold and domain."""
        return [
            KeptRollout(
                **{field.name: getattr(rollout, field.name) for field in fields(Rollout)},
                question=self.question, gold=self.gold, domain=self.domain,
            )
            for rollout in (*self.autonomous, *self.guided)
        ]  # fmt: skip

    def pass_rate(self, group: str) -> float:
        """Return the mean reward of "autonomous" or "guided"; zero for an empty group."""
        rollouts = self.autonomous if group == "autonomous" else self.guided
        return sum(rollout.reward for rollout in rollouts) / len(rollouts) if rollouts else 0.0


@dataclass(frozen=True, slots=True)
class GroupSizes:
    """Responses per problem: G1 without and G2 with the strategy.

    With `guided_below` the G2 are drawn with the strategy only where the pass rate of the G1 is below it, and without
    it elsewhere.
    """

    autonomous: int
    guided: int
    guided_below: float | None = None
