"""FLOPs counted from a model's shape against torch's own count of what ran."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from counts import Counts
from shapes import SHAPES, random_model, random_samples


@pytest.fixture(scope="module")
def model():
    model = random_model(SHAPES["tiny"])
    model.set_attn_implementation("eager")  # torch counts no FLOPs of fused attention on a CPU
    return model


@pytest.mark.parametrize("tokens", [1, 7, 32])
def test_a_forward_pass_is_counted_as_torch_counts_it_with_half_of_the_attention(model, tokens: int) -> None:
    counts = Counts(model)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.randint(6, 500, (1, tokens)), use_cache=False)
    # torch counts every token as if it saw all others: n^2 pairs for (n^2 + n) / 2.
    one_pair = counts.forward(3, []).flops - 2 * counts.forward(2, []).flops + counts.forward(1, []).flops
    expected = counted.get_total_flops() - one_pair * tokens * (tokens - 1) / 2
    ours = counts.forward(tokens, []).flops + counts.vocabulary(tokens, 1).flops
    assert ours == pytest.approx(expected)


def test_responses_see_the_prompt_and_themselves_and_not_each_other(model) -> None:
    counts = Counts(model)
    one, two = counts.forward(10, [6]).flops, counts.forward(10, [6, 6]).flops
    alone = counts.forward(10, []).flops
    assert two - one == pytest.approx(one - alone)
    assert counts.forward(16, []).flops == pytest.approx(one)


def test_decoding_is_the_forward_of_the_responses_less_their_last_token(model) -> None:
    counts, prompts, new = Counts(model), [[7, 8, 9]] * 4 + [[7, 8]] * 2, 5
    logits = counts.vocabulary(len(prompts), 1).flops * new
    layers = sum(counts.forward(len(p), [new - 1]).flops - counts.forward(len(p), []).flops for p in prompts)
    assert counts.decoding(prompts, new).flops == pytest.approx(layers + logits)


def test_random_rollouts_have_targets_and_advantages_where_they_should() -> None:
    for name in ("tiny", "testbed", "smollm2"):
        shape = SHAPES[name]
        for number, sample in enumerate(random_samples(shape)):
            assert len(sample.autonomous_prompt) == shape.work.prompt
            assert len({rollout.reward for rollout in sample.autonomous}) == (1 if number < shape.work.equal else 2)
            assert sample.pass_rate("guided") == 0.5
            lengths = [len(rollout.token_ids) for rollout in (*sample.autonomous, *sample.guided)]
            assert min(lengths) >= shape.work.response - shape.work.spread
            assert max(lengths) <= shape.work.response + shape.work.spread
