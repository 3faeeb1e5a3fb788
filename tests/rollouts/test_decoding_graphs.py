"""Decoding with fixed shapes: rows that have ended stay for a while, columns not written yet are masked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import pytest
import torch
from tiny_models import END, tiny_model, uneven_prompts

from sgpo.config import SamplingConfig
from sgpo.rollouts import transformers_engine
from sgpo.rollouts.graphs import GraphedSteps
from sgpo.rollouts.transformers_engine import TransformersEngine

pytestmark = pytest.mark.slow
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SAMPLED = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=150, batch_size=64)
PROMPTS = [prompt for prompt in uneven_prompts(24) for _ in range(3)]
SEEDS = list(range(len(PROMPTS)))


class Recomputed(GraphedSteps):
    """A stand-in for graphs: what would be replayed is computed again, from the same buffers into the same one."""

    prepared: ClassVar[list[tuple[int, int]]] = []

    def _captured(self, token_B: torch.Tensor, position_B: torch.Tensor) -> Callable[[], None]:
        Recomputed.prepared.append((len(token_B), self._columns))
        self._hidden_BD = self._forward(token_B, position_B).clone()

        def again() -> None:
            self._hidden_BD.copy_(self._forward(token_B, position_B))

        return again


def stood_in(engine: TransformersEngine, steps: type[GraphedSteps]) -> TransformersEngine:
    engine._graphs = lambda prompts, cache: steps(partial(engine._forward, prompts, cache), prompts, cache)  # type: ignore
    return engine


@pytest.mark.parametrize("few", [2, 16])
def test_the_same_tokens_are_sampled_with_fixed_shapes(monkeypatch, few):
    monkeypatch.setattr(transformers_engine, "FEW_ROWS", few)
    monkeypatch.setattr(Recomputed, "prepared", [])
    model = tiny_model("qwen2", dtype=torch.float64)
    plain = TransformersEngine(model, [END]).generate(PROMPTS, SAMPLED, SEEDS)
    fixed = stood_in(TransformersEngine(model, [END]), Recomputed).generate(PROMPTS, SAMPLED, SEEDS)
    assert [one.token_ids for one in fixed] == [one.token_ids for one in plain]
    for ours, theirs in zip(fixed, plain, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-6)
        assert ours.finish_reason == theirs.finish_reason
    assert len({len(one.token_ids) for one in plain}) > 10, "rows that end at different times"
    rows, columns = zip(*Recomputed.prepared, strict=True)
    assert len(Recomputed.prepared) < 24, "a graph serves many tokens"
    assert max(rows) == 64
    assert set(columns) == {64, 128, 256}
    assert min(rows) < 32


class Fails(GraphedSteps):
    def _captured(self, token_B: torch.Tensor, position_B: torch.Tensor) -> Callable[[], None]:
        self._forward(token_B, position_B)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def test_where_nothing_can_be_captured_steps_are_computed_as_they_are_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(GraphedSteps, "works", True)
    model = tiny_model("llama", dtype=torch.float64)
    plain = TransformersEngine(model, [END]).generate(PROMPTS, SAMPLED, SEEDS)
    found = stood_in(TransformersEngine(model, [END]), Fails).generate(PROMPTS, SAMPLED, SEEDS)
    assert [one.token_ids for one in found] == [one.token_ids for one in plain]
    assert [record.getMessage() for record in caplog.records] == [
        "decoding cannot be captured as a CUDA graph (operation not permitted when stream is capturing): it is slower"
    ]


class TooLarge(Recomputed):
    """The device's memory suffices for fewer than 64 rows; the error is as it comes out of a capture that it ends."""

    tried: ClassVar[list[tuple[int, int]]] = []

    def _captured(self, token_B: torch.Tensor, position_B: torch.Tensor) -> Callable[[], None]:
        TooLarge.tried.append((len(token_B), self._columns))
        if len(token_B) < 64:
            return super()._captured(token_B, position_B)
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        finally:
            if self.ends_badly:
                raise RuntimeError("operation failed due to a previous error during capture")

    ends_badly = False


@pytest.mark.parametrize("ends_badly", [False, True])
def test_a_size_that_does_not_fit_the_memory_is_given_up_once_with_all_above_it(monkeypatch, caplog, ends_badly):
    monkeypatch.setattr(transformers_engine, "FEW_ROWS", 2)
    monkeypatch.setattr(GraphedSteps, "works", True)
    monkeypatch.setattr(GraphedSteps, "too_large", [])
    for seen in (Recomputed, "prepared"), (TooLarge, "tried"):
        monkeypatch.setattr(*seen, [])
    monkeypatch.setattr(TooLarge, "ends_badly", ends_badly)
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(TooLarge.tried)))
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda like, shape: like.new_full(shape, torch.nan))
    model = tiny_model("qwen2", dtype=torch.float64)
    plain = TransformersEngine(model, [END]).generate(PROMPTS, SAMPLED, SEEDS)
    engine = stood_in(TransformersEngine(model, [END]), TooLarge)
    for _ in range(2):
        found = engine.generate(PROMPTS, SAMPLED, SEEDS)
        assert [one.token_ids for one in found] == [one.token_ids for one in plain]
    assert GraphedSteps.works
    assert TooLarge.tried[0] == (64, 64)
    assert [rows for rows, _ in TooLarge.tried].count(64) == 1
    assert emptied == [1], "memory is freed where a capture failed"
    assert len(Recomputed.prepared) == len(TooLarge.tried) - 1 > 2, "the sizes below are captured"
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("a CUDA graph of 64 rows and 64 columns does not fit the memory (")
    assert said.endswith("): decoding is slower at this size and above")


class FailsElsewhere(Recomputed):
    """Another thread's capture fails when this one has been captured: its columns are used up, or its rows change."""

    def _captured(self, token_B: torch.Tensor, position_B: torch.Tensor) -> Callable[[], None]:
        again = super()._captured(token_B, position_B)
        GraphedSteps.works = False
        return again


@pytest.mark.parametrize("few", [2, 16])
def test_a_capture_that_fails_in_another_thread_leaves_the_tokens_alone(monkeypatch, few):
    monkeypatch.setattr(transformers_engine, "FEW_ROWS", few)
    monkeypatch.setattr(GraphedSteps, "works", True)
    monkeypatch.setattr(Recomputed, "prepared", [])
    model = tiny_model("qwen2", dtype=torch.float64)
    plain = TransformersEngine(model, [END]).generate(PROMPTS, SAMPLED, SEEDS)
    assert max(len(one.token_ids) for one in plain[:64]) > 64, "a response behind what the first graph shows"
    found = stood_in(TransformersEngine(model, [END]), FailsElsewhere).generate(PROMPTS, SAMPLED, SEEDS)
    assert len(Recomputed.prepared) == 1
    assert [one.token_ids for one in found] == [one.token_ids for one in plain]


@GPU
def test_on_a_gpu_a_capture_that_fails_leaves_the_stream_as_it_was(monkeypatch, caplog):
    monkeypatch.setattr(GraphedSteps, "works", True)
    engine = TransformersEngine(tiny_model("llama", dtype=torch.float64), [END], "cuda")
    plain_forward = engine._forward

    def forward(*arguments):
        hidden_BD = plain_forward(*arguments)
        if torch.cuda.is_current_stream_capturing():
            float(hidden_BD.sum())  # waits for the device, which no capture may
        return hidden_BD

    monkeypatch.setattr(engine, "_forward", forward)
    before = torch.cuda.current_stream()
    found = engine.generate(PROMPTS, SAMPLED, SEEDS)
    assert torch.cuda.current_stream() == before
    assert not GraphedSteps.works
    assert len(caplog.records) == 1
    assert [one.token_ids for one in engine.generate(PROMPTS, SAMPLED, SEEDS)] == [one.token_ids for one in found]


@GPU
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_on_a_gpu_graphs_give_the_same_tokens(monkeypatch, family):
    engine = TransformersEngine(tiny_model(family, dtype=torch.float64), [END], "cuda")
    graphed = engine.generate(PROMPTS, SAMPLED, SEEDS)
    assert GraphedSteps.works
    monkeypatch.setattr(GraphedSteps, "works", False)
    plain = engine.generate(PROMPTS, SAMPLED, SEEDS)
    assert [one.token_ids for one in graphed] == [one.token_ids for one in plain]
