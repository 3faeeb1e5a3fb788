"""A recipe's step in tokens: what is sampled, scored, guided and trained on, and what had to be assumed for it."""

from __future__ import annotations

from dataclasses import dataclass

from sgpo.config import RunConfig
from sgpo.planning.counts import Extent, plain_rows, shared_rows
from sgpo.planning.lengths import Lengths
from sgpo.planning.shapes import PlanError


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a recipe does not say. Tokens are means; `response` None is half of training.sampling.max_new_tokens."""

    prompt: int = 200
    strategy: int = 150
    response: int | None = None
    guided_pass: float = 0.5
    trained_share: float = 1.0
    endless_share: float = 0.01


@dataclass(frozen=True, slots=True)
class Workload:
    """One step over all devices; extents are those of rows as they lie (shared prompts or not), padding left out."""

    problems: int
    autonomous: int
    guided: int
    prompt: int
    guided_prompt: int
    lengths: Lengths
    scoring: Extent
    guide: Extent
    policy: Extent
    distillation: Extent
    minibatches: int
    old_logprobs: Extent

    @property
    def rollouts(self) -> int:
        """Return the responses that are sampled in a step."""
        return self.problems * (self.autonomous + self.guided)


def workload_of(config: RunConfig, assumed: Assumptions) -> Workload:
    """Return the workload of a recipe's step. Raises PlanError for a mean response that is longer than the longest."""
    from sgpo.algorithms import registry

    training = config.training
    longest = training.sampling.max_new_tokens
    mean = max(1, longest // 2) if assumed.response is None else assumed.response
    if not 1 <= mean <= longest:
        raise PlanError(
            f"a mean response of {mean} tokens (expected 1 to training.sampling.max_new_tokens, which is {longest})"
        )
    lengths = Lengths(mean, longest, assumed.endless_share)
    method = registry.build(training, config.seed)
    sizes, problems = method.groups(), training.problems_per_step
    rows = shared_rows if training.shared_prompts else plain_rows
    alone, guided = assumed.prompt, assumed.prompt + assumed.strategy

    def extent(prompt: float, responses: float) -> Extent:
        return rows(prompt, mean, responses, lengths.square)

    guides = getattr(method.settings, "distillation", None) != "sft"
    targets = 1.0 - (1.0 - assumed.guided_pass) ** sizes.guided if sizes.guided else 0.0
    experts = extent(alone, 1) if "responses" in method.needs else Extent()
    policy = (extent(alone, sizes.autonomous) * assumed.trained_share + experts) * problems
    candidates = sizes.guided * assumed.guided_pass if sizes.guided > 1 else 0.0
    return Workload(
        problems, sizes.autonomous, sizes.guided, alone, guided, lengths,
        scoring=extent(alone, candidates) * problems, guide=extent(guided, 1) * (targets * problems * guides),
        policy=policy, distillation=extent(alone, 1) * (targets * problems), minibatches=training.minibatches,
        old_logprobs=policy if training.minibatches > 1 and not training.overlap else Extent(),
    )  # fmt: skip
