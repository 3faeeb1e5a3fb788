"""Choosing a model's attention function for one call: trainer and sampler may use one module with different ones."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel


@contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Let the model compute with the attention function registered under `name`; afterwards it has its own again."""
    config = model.get_decoder().config
    before, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def uncompiled(model: PreTrainedModel) -> Iterator[None]:
    """Let layers compiled for training compute as they were: each length of a cache would compile them anew."""
    compiled = [(module, vars(module).pop("forward")) for module in model.modules() if "forward" in vars(module)]
    try:
        yield
    finally:
        for module, forward in compiled:
            module.forward = forward
