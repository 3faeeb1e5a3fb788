"""FLOPs that a step needs, and bytes that it must move, when nothing is computed twice.

A multiplication with its addition is 2 FLOPs; forward is 2 per weight and token, backward twice that. Counted are
matrix products and attention over what a token sees; padding, further copies of a prompt, norms and softmax are not.
Bytes are the least there are: weights once per pass, the cache once per decoding step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from sgpo.planning import counts
from sgpo.planning.counts import Extent, plain_rows
from sgpo.planning.shapes import shape_of
from sgpo.rollouts.schema import ProblemSamples


@dataclass(frozen=True, slots=True)
class Cost:
    """Useful FLOPs and least bytes of a phase."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.flops * times, self.bytes * times)


class Counts:
    """Costs of a model's passes, from its shape (`sgpo/planning/counts.py`) and the size of a number."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.shape = shape_of(model.config)
        self.width = next(model.parameters()).element_size()
        self.layers = self.shape.layers * counts.layer_matrices(self.shape)
        self.parameters = counts.parameters(self.shape)
        self.projection = self.shape.vocabulary * self.shape.hidden

    def forward(self, prompt: int, responses: Sequence[int]) -> Cost:
        """Return the layers' forward over a prompt and the responses that continue it."""
        extent = plain_rows(prompt, 0, 1 - len(responses))
        for response in responses:
            extent += plain_rows(prompt, response, 1)
        flops = counts.layer_flops(self.shape, extent) + counts.attention_flops(self.shape, extent)
        into_and_out = 2.0 * extent.tokens * self.shape.hidden * self.shape.layers * self.width
        return Cost(flops, into_and_out)

    def weights(self) -> Cost:
        """Return reading the layers' weights once."""
        return Cost(0.0, self.layers * self.width)

    def vocabulary(self, tokens: int, products: int) -> Cost:
        """Return `products` products of so many tokens with the output projection."""
        logits = counts.vocabulary_flops(self.shape, Extent(predicted=tokens))
        return Cost(logits * products, self.projection * self.width * products)

    def decoding(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Cost:
        """Return decoding `new_tokens` for each prompt, in one batch; equal prompts are read once."""
        unique = {tuple(prompt) for prompt in prompts}
        rows, fed = len(prompts), new_tokens - 1
        layers = sum(self.forward(len(p), [fed]).flops - self.forward(len(p), []).flops for p in prompts)
        kept = counts.kv_bytes(self.shape, self.width)
        cache = kept * (sum(map(len, unique)) * fed + rows * fed * (fed + 1) / 2)
        return Cost(layers, self.layers * self.width * fed + cache) + self.vocabulary(rows, 1) * new_tokens

    def optimiser(self) -> Cost:
        """Return clipping and AdamW, which read and write float32."""
        return Cost(0.0, counts.optimizer_bytes(self.parameters))


def step_costs(model: Counts, samples: Sequence[ProblemSamples]) -> dict[str, Cost]:
    """Return what a step of SGPO costs by phase: scoring [Eq. 4], guide [Eq. 3], forward, backward, vocabulary.

    A problem's target and its group share one prompt. Vocabulary work is one product for a candidate's token, three for
    a token of the group, and four for a target's: both contexts' logits, and two products of the gradient.
    """
    scoring = guide = forward = model.weights()
    candidates = members = targets = 0
    for sample in samples:
        correct = [len(rollout.token_ids) for rollout in sample.guided if rollout.reward == 1.0]
        equal = len({rollout.reward for rollout in sample.autonomous}) == 1  # no advantage, no gradient
        group = [] if equal else [len(rollout.token_ids) for rollout in sample.autonomous]
        target = round(sum(correct) / len(correct)) if correct else 0  # which one is chosen depends on the weights
        if len(correct) > 1:  # a single one is chosen without being looked at
            scoring += model.forward(len(sample.autonomous_prompt), correct)
            candidates += sum(correct)
        if correct:
            guide += model.forward(len(sample.guided_prompt), [target])
        forward += model.forward(len(sample.autonomous_prompt), [*group, target] if correct else group)
        members, targets = members + sum(group), targets + target
    vocabulary = model.vocabulary(candidates, 1) + model.vocabulary(members, 3) + model.vocabulary(targets, 4)
    return {
        "scoring": scoring, "guide forward": guide, "forward": forward, "backward": forward * 2.0,
        "vocabulary work": vocabulary, "optimiser": model.optimiser(),
    }  # fmt: skip
