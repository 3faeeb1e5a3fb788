"""Counts against the real models of transformers, and against sums made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sgpo.planning import counts
from sgpo.planning.counts import Extent, plain_rows, shared_rows
from sgpo.planning.shapes import SHAPES, Shape, shape_of

FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}  # fmt: skip
TINY = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
    "intermediate_size": 80, "vocab_size": 97, "attn_implementation": "eager",
}  # fmt: skip
PUBLISHED = {
    "smollm2-135m": ("llama", 134_515_008), "qwen2.5-0.5b": ("qwen2", 494_032_768),
    "qwen2.5-1.5b": ("qwen2", 1_543_714_304), "qwen2.5-7b": ("qwen2", 7_615_616_512),
    "qwen3-0.6b": ("qwen3", 596_049_920), "llama-3.1-8b": ("llama", 8_030_261_248),
}  # fmt: skip
family = pytest.mark.parametrize("name", FAMILIES)


def tiny(name: str, **others: Any) -> Any:
    config_class, model_class = FAMILIES[name]
    torch.manual_seed(0)
    return model_class(config_class(**TINY, **others))


def counted(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@family
def test_forward_and_backward_are_the_operations_that_torch_counts(name: str):
    model, ids = tiny(name), torch.arange(2 * 11).view(2, 11)
    shape = shape_of(model.config)
    all_pairs = Extent(tokens=22, pairs=2 * 11 * 11, predicted=22)  # eager attention multiplies masked pairs too
    logits = model(ids).logits
    assert counted(lambda: model(ids)) == counts.forward_flops(shape, all_pairs)
    assert counted(lambda: logits.sum().backward()) == 2 * counts.forward_flops(shape, all_pairs)


def test_a_layer_s_operations_by_hand():
    shape = Shape(4, 2, 2, 1, 3, 5, 7, True)
    # One token: q 4x6, k and v 4x3, o 6x4, gate, up and down 4x5; two layers; two operations for each weight.
    assert counts.layer_flops(shape, Extent(tokens=1)) == 2 * 2 * (24 + 12 + 12 + 24 + 3 * 20)
    # One pair: 6 products for the score, 6 for the sum of values.
    assert counts.attention_flops(shape, Extent(pairs=1)) == 2 * 2 * (6 + 6)
    assert counts.vocabulary_flops(shape, Extent(predicted=1)) == 2 * 4 * 7


@family
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_real_model(name: str, tied: bool):
    model = tiny(name, tie_word_embeddings=tied)
    assert counts.parameters(shape_of(model.config)) == sum(weight.numel() for weight in model.parameters())


def test_a_llama_with_biases_has_them_counted():
    model = tiny("llama", attention_bias=True)
    assert counts.parameters(shape_of(model.config)) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_shape_has_the_published_number_of_parameters(name: str):
    model_type, published = PUBLISHED[name]
    shape, (config_class, model_class) = SHAPES[name], FAMILIES[model_type]
    config = config_class(
        hidden_size=shape.hidden, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary, tie_word_embeddings=shape.tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = model_class(config)
    assert sum(weight.numel() for weight in model.parameters()) == published == counts.parameters(shape)
    assert shape_of(config) == shape


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5))
def test_pairs_are_those_under_the_mask(prompt: int, response: int, rows: int):
    def causal(length: int) -> int:
        return sum(1 for query in range(length) for key in range(length) if key <= query)

    plain = plain_rows(prompt, response, rows)
    assert plain == Extent(rows * (prompt + response), rows * causal(prompt + response), rows * response)
    shared = shared_rows(prompt, response, rows)
    seen = causal(prompt) + rows * (causal(response) + response * prompt)
    assert shared == Extent(prompt + rows * response, seen, rows * response)


def test_rows_of_different_lengths_have_the_pairs_of_each():
    lengths = [3, 8, 20]
    each = [plain_rows(5, length, 1).pairs for length in lengths]
    mean, square = sum(lengths) / 3, sum(length**2 for length in lengths) / 3
    assert plain_rows(5, mean, 3, square).pairs == pytest.approx(sum(each))


@family
def test_a_layer_keeps_for_backward_what_is_counted(name: str):
    # Widths that are large beside what is kept once a row: masks, cosines and one number a token of each norm.
    wide = {**TINY, "hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32,
            "intermediate_size": 512, "attn_implementation": "sdpa"}  # fmt: skip
    config_class, model_class = FAMILIES[name]
    model = model_class(config_class(**wide))
    tokens, shape = 64, shape_of(model.config)
    layer = model.model.layers[1]
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hidden = torch.randn(1, tokens, 256, requires_grad=True)
    position = model.model.rotary_emb(hidden, torch.arange(tokens)[None])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(hidden, position_embeddings=position, attention_mask=None)
    counted_bytes = counts.activation_bytes(shape, width=4) * tokens
    assert sum(kept.values()) == pytest.approx(counted_bytes, rel=0.15)
    assert counts.kv_bytes(shape, 4) == 2 * 3 * 4 * 32 * 4
