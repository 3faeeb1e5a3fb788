"""Compiling the layers: element-wise work between their products is most of a training step on a GPU.

Every layer is compiled by itself, so that one compilation serves all, and FSDP2's communication stays outside.
"""

import torch
from transformers import PreTrainedModel

from sgpo.training.masks import SKIPPING_ATTENTION, skipping_works, windowed_layers


def compile_layers(model: PreTrainedModel) -> None:
    """Compile the layers in place (`torch.compile`), before they are sharded; what fails runs as it did, and says so.

    On a GPU attention then skips blocks in which nothing is seen (`layouts.OneLine`), where the model's can. The first
    forward and backward take up to a minute; torch caches on disk what it compiled.
    """
    torch._dynamo.config.suppress_errors = True  # computes eagerly, with a warning
    for layer in model.get_decoder().get_submodule("layers").children():
        layer.forward = torch.compile(layer.forward)
    config = model.get_decoder().config
    able = config._attn_implementation == "sdpa" and not windowed_layers(model)
    if model.device.type == "cuda" and able and skipping_works(model):
        config._attn_implementation = SKIPPING_ATTENTION
