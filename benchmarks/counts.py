"""FLOPs that a step needs, and bytes that it must move, when nothing is computed twice.

A multiplication with its addition is 2 FLOPs; forward is 2 per weight and token, backward twice that. Counted are
matrix products and attention over what a token sees; padding, further copies of a prompt, norms and softmax are not.
Bytes are the least there are: weights once per pass, the cache once per decoding step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

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
    """Costs of a model's passes, by its shape and the size of a number."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        self.width = next(model.parameters()).element_size()
        named = list(model.named_parameters())
        self.layers = sum(weight.numel() for name, weight in named if ".layers." in name and weight.dim() == 2)
        self.parameters = sum(weight.numel() for _, weight in named)
        self.projection, self.hidden = config.vocab_size * config.hidden_size, config.hidden_size
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.depth = config.num_hidden_layers
        self.pair = 4.0 * config.num_attention_heads * head * self.depth
        """FLOPs of attention for one token that sees one other, over all layers."""
        self.kept = 2.0 * config.num_key_value_heads * head * self.depth * self.width
        """Bytes of keys and values of one token, over all layers."""

    def forward(self, prompt: int, responses: Sequence[int]) -> Cost:
        """Return the layers' forward over a prompt and the responses that continue it."""
        tokens = prompt + sum(responses)
        seen = prompt * prompt / 2 + sum(prompt * length + length * length / 2 for length in responses)
        activations = 2.0 * tokens * self.hidden * self.depth * self.width  # into and out of each layer
        return Cost(2.0 * self.layers * tokens + self.pair * seen, activations)

    def weights(self) -> Cost:
        """Return reading the layers' weights once."""
        return Cost(0.0, self.layers * self.width)

    def vocabulary(self, tokens: int, products: int) -> Cost:
        """Return `products` products of so many tokens with the output projection."""
        return Cost(2.0 * self.projection * tokens * products, self.projection * self.width * products)

    def decoding(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Cost:
        """Return decoding `new_tokens` for each prompt, in one batch; equal prompts are read once."""
        unique = {tuple(prompt) for prompt in prompts}
        rows, fed = len(prompts), new_tokens - 1
        seen = sum(len(prompt) * fed + fed * (fed + 1) / 2 for prompt in prompts)
        cache = self.kept * (sum(map(len, unique)) * fed + rows * fed * (fed + 1) / 2)
        layers = Cost(2.0 * self.layers * rows * fed + self.pair * seen, self.layers * self.width * fed + cache)
        return layers + self.vocabulary(rows, 1) * new_tokens

    def optimiser(self) -> Cost:
        """Return clipping (gradient read twice, written once) and AdamW (four reads, three writes)."""
        return Cost(0.0, 10.0 * self.parameters * self.width)


def step_costs(counts: Counts, samples: Sequence[ProblemSamples]) -> dict[str, Cost]:
    """Return what a step of SGPO costs by phase: scoring [Eq. 4], guide [Eq. 3], forward, backward, vocabulary.

    A problem's target and its group share one prompt. Vocabulary work is one product for a candidate's token, three for
    a token of the group, and four for a target's: both contexts' logits, and two products of the gradient.
    """
    scoring = guide = forward = counts.weights()
    candidates = members = targets = 0
    for sample in samples:
        correct = [len(rollout.token_ids) for rollout in sample.guided if rollout.reward == 1.0]
        equal = len({rollout.reward for rollout in sample.autonomous}) == 1  # no advantage, no gradient
        group = [] if equal else [len(rollout.token_ids) for rollout in sample.autonomous]
        target = round(sum(correct) / len(correct)) if correct else 0  # which one is chosen depends on the weights
        if len(correct) > 1:  # a single one is chosen without being looked at
            scoring += counts.forward(len(sample.autonomous_prompt), correct)
            candidates += sum(correct)
        if correct:
            guide += counts.forward(len(sample.guided_prompt), [target])
        forward += counts.forward(len(sample.autonomous_prompt), [*group, target] if correct else group)
        members, targets = members + sum(group), targets + target
    vocabulary = counts.vocabulary(candidates, 1) + counts.vocabulary(members, 3) + counts.vocabulary(targets, 4)
    return {
        "scoring": scoring, "guide forward": guide, "forward": forward, "backward": forward * 2.0,
        "vocabulary work": vocabulary, "optimiser": counts.optimiser(),
    }  # fmt: skip
