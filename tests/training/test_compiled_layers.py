"""Layers compiled for a GPU: one line with a mask of blocks, the gradient of plain rows, sampling as before."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import make_samples
from test_shared_prompts import SIZES, check_places, rows_of
from test_step import ALTERNATIVES, tiny_policy
from torch.distributed.tensor import DTensor
from torch.nn.attention.flex_attention import BlockMask, create_mask

from sgpo.algorithms.registry import build
from sgpo.algorithms.rows import Row
from sgpo.config import SamplingConfig, ShardingConfig, TrainingConfig
from sgpo.rollouts.attention import uncompiled
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training import masks, sharding
from sgpo.training.batches import TokenBatch
from sgpo.training.compilation import compile_layers
from sgpo.training.layouts import PlainRows, layout_for
from sgpo.training.masks import BLOCK, SKIPPING_ATTENTION, skipping_works, token_mask
from sgpo.training.policy import Policy
from sgpo.training.sharding import shard_policy
from sgpo.training.shared_prompts import OneLine
from sgpo.training.step import Gradient
from sgpo.training.world import World

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Dense(OneLine):
    """The same line with its mask written out, as the checks of shared lines read it."""

    def batch(self, rows: list[Row], pad_id: int, device: torch.device) -> TokenBatch[Row]:
        batch = super().batch(rows, pad_id, device)
        blocks = batch.attention_mask_BT
        assert isinstance(blocks, BlockMask)
        lines, length = batch.input_ids_BT.shape
        whole = create_mask(blocks.mask_mod, lines, 1, length, length, "cpu")
        sides = whole.reshape(lines, 1, length // BLOCK, BLOCK, length // BLOCK, BLOCK).any(-1).any(-2)
        assert torch.equal(sides, blocks.to_dense().bool()), "a block is skipped just where nothing in it is seen"
        return replace(batch, attention_mask_BT=whole)


@settings(deadline=None, max_examples=40)
@given(SIZES)
def test_each_token_sees_its_prompt_and_its_own_response(sizes):
    layout = Dense()
    for rows in layout.split(rows_of(sizes), 10**6):
        check_places(layout, rows)  # pyright: ignore[reportArgumentType]


@settings(deadline=None, max_examples=100)
@given(SIZES, st.integers(1, 400))
def test_every_row_is_there_once_in_few_microbatches_of_about_one_length(sizes, budget):
    rows, layout = rows_of(sizes), OneLine()
    groups = layout.split(rows, budget)
    assert sorted(row.index for group in groups for row in group) == list(range(len(rows)))
    room = max(budget // BLOCK, 1) * BLOCK
    for group in groups:
        assert layout.size(group)[0] <= room or len(group) == 1
        assert layout.size(group)[1] < BLOCK


def test_a_prompt_is_computed_once_and_lines_are_even():
    rows = [Row((prompt,) * 100, tuple(range(100)), 10 * prompt + place) for prompt in range(6) for place in range(4)]
    groups = OneLine().split(rows, 1024)  # 6 families of 500
    assert [sum(map(len, group)) for group in groups] == [1600, 1600, 1600]
    assert [OneLine().size(group) for group in groups] == [(1024, 24)] * 3


def counting_compile(calls: list) -> Callable:
    """Return a stand-in for torch.compile that notes every call of what was compiled."""

    def compile(forward):
        def call(*arguments, **more):
            calls.append(forward)
            return forward(*arguments, **more)

        return call

    return compile


def test_layers_are_compiled_where_asked_for_and_sampling_leaves_that_out(tokenizer, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", counting_compile(calls))
    policy, plain = tiny_policy(tokenizer), tiny_policy(tokenizer)
    shard_policy(policy, World(0, 1, torch.device("cpu")), ShardingConfig(compile=True))
    assert not isinstance(layout_for(policy.model, shared=True), OneLine), "blocks are skipped on a GPU"
    batch = PlainRows().batch([Row((5, 6), (7, 8), 0)], 0, torch.device("cpu"))
    assert torch.equal(policy.hidden(batch), plain.hidden(batch))
    layers = policy.model.config.num_hidden_layers
    assert len(calls) == layers
    sample = partial(
        TransformersEngine.generate, prompts=[[5, 6]], sampling=SamplingConfig(max_new_tokens=4), seeds=[1]
    )
    assert sample(TransformersEngine(policy.model, 1)) == sample(TransformersEngine(plain.model, 1))
    assert len(calls) == layers
    policy.hidden(batch)
    assert len(calls) == 2 * layers


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_layers_are_computed_again_in_backward(tokenizer, monkeypatch, precision):
    """FSDP2 makes other classes of the layers, by which transformers' own checkpointing would go wrong."""
    calls, gradients = [], []
    monkeypatch.setattr(torch, "compile", counting_compile(calls))
    for recompute in (False, True):
        calls.clear()
        policy = Policy(tiny_policy(tokenizer).model.float())
        chosen = ShardingConfig(compile=True, activation_checkpointing=recompute, precision=precision)
        shard_policy(policy, World(0, 1, torch.device("cpu")), chosen)
        batch = PlainRows().batch([Row((5, 6), (7, 8), 0)], 0, torch.device("cpu"))
        policy.logprob_loss(batch, lambda logp_C, *_: -logp_C).backward()
        assert len(calls) == (1 + recompute) * policy.model.config.num_hidden_layers
        gradients.append([whole(p.grad) for p in policy.parameters() if p.grad is not None])
    assert all(torch.equal(*both) for both in zip(*gradients, strict=True))


def whole(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


@GPU
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_on_a_gpu_the_gradient_of_every_method_is_that_of_plain_rows(tokenizer, family, alternative):
    samples, algorithm = make_samples(8), ALTERNATIVES[alternative]

    def gradient(compiled: bool, dtype: torch.dtype) -> torch.Tensor:
        policy = tiny_policy(tokenizer, family).to("cuda", dtype)
        config = TrainingConfig(steps=10, algorithm=algorithm, shared_prompts=compiled)  # type: ignore[arg-type]
        if compiled:
            compile_layers(policy.model)
            assert policy.model.config._attn_implementation == SKIPPING_ATTENTION
        world = World(0, 1, torch.device("cuda"))
        part = Gradient(policy, build(config, 0), config, world, tokenizer.pad_token_id)
        assert isinstance(part.microbatches.layout, OneLine) == compiled
        (minibatch,) = part.minibatches(samples, 4, len(samples))
        part.accumulate(minibatch)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in policy.parameters()]
        return torch.cat([gradient.flatten().double().cpu() for gradient in gradients])

    plain, ours = gradient(False, torch.float32), gradient(True, torch.float32)
    assert (ours - plain).norm() < 1e-4 * plain.norm()
    assert plain.norm() > 1e-3


@GPU
def test_on_a_gpu_activations_are_computed_again_under_the_same_mask(tokenizer):
    found = []
    for recompute in (False, True):
        policy = tiny_policy(tokenizer).to("cuda", torch.float32)
        world = World(0, 1, torch.device("cuda"))
        shard_policy(policy, world, ShardingConfig(precision="bfloat16", activation_checkpointing=recompute))
        config = TrainingConfig(steps=10)
        part = Gradient(policy, build(config, 0), config, world, tokenizer.pad_token_id)
        (minibatch,) = part.minibatches(make_samples(8), 4, 8)
        part.accumulate(minibatch)
        found.append(torch.cat([whole(p.grad).flatten() for p in policy.parameters() if p.grad is not None]))
    assert (found[0] - found[1]).norm() < 1e-2 * found[0].norm()


@pytest.mark.parametrize(("error", "reason"), [(None, "off by"), (RuntimeError("no Triton\nhere"), "no Triton")])
def test_attention_that_computes_something_else_is_not_used(tokenizer, monkeypatch, caplog, error, reason):
    model = tiny_policy(tokenizer).model

    def wrong(module, query, key, value, mask):
        if error is not None:
            raise error
        groups = query.shape[1] // key.shape[1]
        whole = [each.repeat_interleave(groups, dim=1) for each in (key, value)]
        seen = token_mask(torch.zeros(1, 3 * BLOCK), torch.zeros(1, 3 * BLOCK))  # all of one family, and no responses
        return torch.nn.functional.scaled_dot_product_attention(query, *whole, attn_mask=seen).transpose(1, 2), None

    monkeypatch.setattr(masks, "skipping_attention", wrong)
    assert not skipping_works(model, torch.bfloat16)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"attention that skips blocks does not work on cpu ({reason}")


def test_attention_under_the_same_mask_is_used(tokenizer, monkeypatch):
    def dense(module, query, key, value, mask):
        seen = create_mask(mask.mask_mod, 1, 1, 3 * BLOCK, 3 * BLOCK, "cpu")
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
        return out.transpose(1, 2), None

    monkeypatch.setattr(masks, "skipping_attention", dense)
    assert skipping_works(tiny_policy(tokenizer).model, torch.bfloat16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_attention_is_compared_in_the_numbers_that_layers_compute_in(tokenizer, monkeypatch, caplog, precision):
    """On a card kernels for one kind of numbers may compile, and those for another not."""

    def for_one_kind(module, query, key, value, mask):
        if query.dtype != torch.bfloat16:
            raise RuntimeError("out of resource: shared memory")
        seen = create_mask(mask.mask_mod, 1, 1, 3 * BLOCK, 3 * BLOCK, "cpu")
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
        return out.transpose(1, 2), None

    works = []

    def compile_layers(model, recompute, dtype):
        works.append(skipping_works(model, dtype or model.dtype))

    monkeypatch.setattr(masks, "skipping_attention", for_one_kind)
    monkeypatch.setattr(sharding, "compile_layers", compile_layers)
    policy = Policy(tiny_policy(tokenizer).model.float())
    shard_policy(policy, World(0, 1, torch.device("cpu")), ShardingConfig(compile=True, precision=precision))
    assert works == [precision == "bfloat16"]
    assert ["shared memory" in record.getMessage() for record in caplog.records] == [True] * (precision == "float32")


def test_what_is_not_compiled_is_left_alone(tokenizer):
    model = tiny_policy(tokenizer).model
    with uncompiled(model):
        assert not any("forward" in vars(module) for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
