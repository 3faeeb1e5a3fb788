"""Compiling the layers: element-wise work between their products is much of a training step on a GPU.

Every layer is compiled by itself, so that one compilation serves all, and FSDP2's communication stays outside.
"""

from functools import partial
from types import MethodType

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from sgpo.training.masks import SKIPPING_ATTENTION, skipping_works, windowed_layers

VARIANTS = 32
"""Forms of a layer's inputs that are compiled for: with gradient and without, lengths, masks."""


def compile_layers(model: PreTrainedModel, recompute: bool = False, dtype: torch.dtype | None = None) -> None:
    """Compile the layers in place (`torch.compile`), before they are sharded; what fails runs as it did, and says so.

    On a GPU attention then skips blocks in which nothing is seen (`shared_prompts.OneLine`), where the model's can.
    With `recompute` backward computes a layer again. `dtype` is what they compute in where it is not the weights'. The
    first forward and backward take up to a minute; torch caches on disk what it compiled.
    """
    torch._dynamo.config.suppress_errors = True  # computes eagerly, with a warning
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    for layer in model.get_decoder().get_submodule("layers").children():
        # transformers' own checkpointing looks at the layer's class, which FSDP2 changes, and would be compiled along.
        inner = MethodType(getattr(type(layer).forward, "__wrapped__", type(layer).forward), layer)
        forward = torch.compile(inner)
        layer.forward = (
            partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False) if recompute else forward
        )
    config = model.get_decoder().config
    able = config._attn_implementation == "sdpa" and not windowed_layers(model)
    if model.device.type == "cuda" and able and skipping_works(model, dtype or model.dtype):
        config._attn_implementation = SKIPPING_ATTENTION
