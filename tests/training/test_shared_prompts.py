"""Rows that share a prompt: every row once, under the budget, each token sees what it sees in a plain row."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import make_samples
from test_step import ALTERNATIVES, flat_gradient, gradient_of, tiny_policy
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config

from sgpo.algorithms.rows import Row
from sgpo.config import TrainingConfig
from sgpo.training.layouts import PlainRows, layout_for
from sgpo.training.shared_prompts import SharedPrompts

CPU = torch.device("cpu")
SIZES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=30)
EVEN = st.floats(1.0, 1e4)
PROMPTS = ((1, 2, 3), (4,), (1, 2), (5, 6, 7, 8, 9, 1, 2, 3))


def rows_of(sizes: list[tuple[int, int]]) -> list[Row]:
    return [
        Row(PROMPTS[prompt], tuple(10 + (number + place) % 90 for place in range(length)), number)
        for number, (prompt, length) in enumerate(sizes)
    ]


@settings(deadline=None, max_examples=100)
@given(SIZES, st.integers(1, 400), EVEN)
def test_every_row_is_there_once_and_microbatches_keep_the_budget(sizes, budget, even_length):
    rows, layout = rows_of(sizes), SharedPrompts(even_length)
    groups = layout.split(rows, budget)
    assert sorted(row.index for group in groups for row in group) == list(range(len(rows)))
    for group in groups:
        assert layout.size(group)[0] <= budget or len({row.prompt for row in group}) == len(group) == 1


@settings(deadline=None, max_examples=100)
@given(SIZES, EVEN)
def test_each_token_sees_its_prompt_and_its_own_response_in_its_position(sizes, even_length):
    layout = SharedPrompts(even_length)
    for rows in layout.split(rows_of(sizes), 10**6):
        check_places(layout, rows)


def check_places(layout: SharedPrompts, rows: list[Row]) -> None:
    batch = layout.batch(rows, 0, CPU)
    assert batch.input_ids_BT.numel() == layout.size(rows)[0]
    assert batch.mask_BR.sum(dim=1).tolist() == [len(row.response) for row in rows]
    place = 0
    for row in rows:
        for position in range(len(row.response)):
            line, column = int(batch.row_index_N[place]), int(batch.column_index_N[place])
            seen = batch.attention_mask_BT[line, 0, column]
            assert batch.input_ids_BT[line][seen].tolist() == [*row.prompt, *row.response[:position]]
            assert batch.position_ids_BT[line][seen].tolist() == list(range(len(row.prompt) + position))
            assert batch.targets_N[place] == row.response[position]
            place += 1
    assert place == len(batch.targets_N)
    assert batch.attention_mask_BT.any(dim=-1).all(), "a token that sees nothing is not a number"


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_the_gradient_of_every_method_is_that_of_plain_rows(tokenizer, family, alternative):
    policy, samples = tiny_policy(tokenizer, family), make_samples(8)
    chosen = {"steps": 10, "algorithm": ALTERNATIVES[alternative]}
    in_plain_rows = TrainingConfig(**chosen, shared_prompts=False)
    plain = gradient_of(policy, samples, in_plain_rows, tokenizer.pad_token_id, step=4)
    for tokens in (1, 90, 16384):
        shared = TrainingConfig(**chosen, tokens_per_microbatch=tokens)
        sums, gradient = gradient_of(policy, samples, shared, tokenizer.pad_token_id, step=4)
        # transformers' norms compute in float32 whatever the model's dtype.
        torch.testing.assert_close(gradient, plain[1], atol=5e-8, rtol=1e-6)
        assert sums["loss"] == pytest.approx(plain[0]["loss"], abs=1e-10), tokens
    assert flat_gradient(policy).abs().max() > 1e-3


def test_a_prompt_is_computed_once_and_little_is_padding(tokenizer):
    policy, samples = tiny_policy(tokenizer), make_samples(24)
    plain, _ = gradient_of(policy, samples, TrainingConfig(shared_prompts=False), tokenizer.pad_token_id)
    shared, _ = gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)
    plain_tokens, shared_tokens = (sums["padded_tokens"] - sums["padding_tokens"] for sums in (plain, shared))
    assert shared_tokens < 0.9 * plain_tokens
    assert shared["padding_tokens"] / shared["padded_tokens"] < 0.06


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(sliding_window=None, attn_implementation="eager"), "attention eager"),
        (Qwen2Config(use_sliding_window=True, sliding_window=8, max_window_layers=0, attn_implementation="sdpa"),
         "layers of sliding_attention"),
        (MistralConfig(sliding_window=64, attn_implementation="sdpa"), "layers of sliding_attention"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_mask_tokens_keeps_plain_rows_and_says_so_once(config, reason, caplog):
    with caplog.at_level(logging.WARNING):
        assert isinstance(layout_for(model_of(config), shared=True), PlainRows)
    assert [record.getMessage() for record in caplog.records] == [
        f"training.shared_prompts: {config.model_type} with {reason} keeps a prompt in every row"
    ]
    unbounded = MistralConfig(sliding_window=64, max_position_embeddings=64, attn_implementation="sdpa")
    assert isinstance(layout_for(model_of(unbounded), shared=True), SharedPrompts)
    able = model_of(Qwen2Config(attn_implementation="sdpa"))
    assert isinstance(layout_for(able, shared=True), SharedPrompts)
    assert isinstance(layout_for(able, shared=False), PlainRows)


def test_the_even_length_is_where_comparing_costs_what_the_layers_matrices_cost():
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 50}
    config = Qwen2Config(**shape, num_attention_heads=4, num_key_value_heads=2, attn_implementation="sdpa")
    layout = layout_for(model_of(config), shared=True)
    assert isinstance(layout, SharedPrompts)
    matrices = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96  # a layer's weights, 2 operations each for a token
    assert 4 * 64 * layout.even_length == pytest.approx(2 * matrices)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 200), st.integers(1, 100), st.integers(1, 12), st.floats(1.0, 1e5))
def test_as_many_responses_follow_a_prompt_as_make_each_cheapest(prompt, response, rows, even_length):
    """No other number of responses in a line has a lower price, by trying each."""
    layout = SharedPrompts(even_length)
    group = [Row(tuple(range(prompt)), tuple(range(response)), number) for number in range(rows)]
    longest = max(len(family) for family in layout._families(group))

    def price(many: int) -> float:
        length = prompt + many * response
        return length * (1 + length / even_length) / many

    many = (longest - prompt) // response
    best = min(range(1, rows + 1), key=price)
    assert many == best or many + 1 == best  # the best lies between whole numbers; the line is never longer


def model_of(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, attn_implementation=config._attn_implementation)
