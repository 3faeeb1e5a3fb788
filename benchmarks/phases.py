"""Seconds and peak memory by phase: a stack of phases, and hooks that say which phase a call of the library is.

Time counts for the innermost phase alone, so that the phases of a run add up to it. Nothing of the library is changed
but for the time of `watched`.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from measure import peak_bytes, reset_peak, wait
from transformers import AttentionInterface, PreTrainedModel

import sgpo.rollouts.transformers_engine as engine_module
import sgpo.training.policy as policy_module


class PhaseClock:
    """Adds up exclusive seconds by phase, and keeps the most memory held in each where `memory` is asked for."""

    def __init__(self, device: torch.device | str = "cpu", memory: bool = True) -> None:
        self.device, self.memory = device, memory
        self.seconds: dict[str, float] = defaultdict(float)
        self.peak: dict[str, int] = defaultdict(int)
        self._stack: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within for `name`."""
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def begin(self, name: str) -> None:
        """Interrupt the phase that is on, if any, by this one."""
        self._close()
        self._stack.append(name)
        self._since = time.perf_counter()

    def end(self) -> None:
        """Go back to the phase that was interrupted."""
        self._close()
        self._stack.pop()
        self._since = time.perf_counter()

    def begin_within(self, name: str, whole: str) -> None:
        """Interrupt by this phase; within the phase `whole`, which is not taken apart, by that one again."""
        self.begin(whole if whole in self._stack else name)

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` with its time counted for `name`, within a phase; elsewhere it is not counted."""

        @functools.wraps(call)
        def timed(*args: Any, **settings: Any) -> Any:
            if not self._stack:
                return call(*args, **settings)
            with self.phase(name):
                return call(*args, **settings)

        return timed

    def _close(self) -> None:
        if not self._stack:
            reset_peak(self.device)
            return
        wait(self.device)
        self.seconds[self._stack[-1]] += time.perf_counter() - self._since
        if self.memory:
            self.peak[self._stack[-1]] = max(self.peak[self._stack[-1]], peak_bytes(self.device))
            reset_peak(self.device)


@contextmanager
def watched(clock: PhaseClock, model: PreTrainedModel, decoder_phase: Callable[[int], str | None]) -> Iterator[None]:
    """Count the decoder's calls, the work over the vocabulary and backward while the block runs.

    `decoder_phase` names the phase of a call by the tokens in a row of it; None counts it for the phase that is on.
    """
    named: list[str | None] = []

    def before(module: torch.nn.Module, args: tuple, settings: dict[str, Any]) -> None:
        named.append(decoder_phase(settings["input_ids"].shape[1]))
        if named[-1] is not None:
            clock.begin(named[-1])

    def after(*_: object) -> None:
        if named.pop() is not None:
            clock.end()

    decoder = model.get_decoder()
    with ExitStack() as stack:
        stack.callback(decoder.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(decoder.register_forward_hook(after, always_call=True).remove)
        for name, call in list(vars(policy_module).items()):
            if name.startswith("linear_"):
                stack.enter_context(patch.object(policy_module, name, clock.wrapped("vocabulary work", call)))
        backward = clock.wrapped("backward", torch.Tensor.backward)
        stack.enter_context(patch.object(torch.Tensor, "backward", backward))
        yield


@contextmanager
def decode_watched(clock: PhaseClock, model: PreTrainedModel) -> Iterator[None]:
    """Count what decoding is made of: products, attention over the cache, draws; the rest is the phase that is on.

    Reading prompts, which `watched` calls "prompts", is not taken apart.
    """
    attention = engine_module.SHARED_PROMPT_ATTENTION
    plain = AttentionInterface()[attention]
    head = model.get_output_embeddings()
    products = {module: "products of the layers" for module in model.modules() if isinstance(module, torch.nn.Linear)}
    products[head] = "product with the vocabulary"  # type: ignore[index]
    with ExitStack() as stack:
        for module, name in products.items():
            stack.callback(
                module.register_forward_pre_hook(lambda *_, name=name: clock.begin_within(name, "prompts")).remove
            )
            stack.callback(module.register_forward_hook(lambda *_: clock.end()).remove)
        AttentionInterface.register(attention, clock.wrapped("attention over the cache", plain))
        stack.callback(AttentionInterface.register, attention, plain)
        draws = clock.wrapped("draws and log-probabilities", engine_module.sample_tokens)
        stack.enter_context(patch.object(engine_module, "sample_tokens", draws))
        yield
