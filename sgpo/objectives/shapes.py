"""What the equations of single tokens share: their arguments are of one length."""

import torch


def check_tokens(**values_N: torch.Tensor) -> None:
    """Raise ValueError, naming the first argument that is not [N], with the N of the first one."""
    first, *_ = values_N.values()
    for name, tensor in values_N.items():
        if tensor.dim() != 1 or tensor.shape != first.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} (expected [{first.shape[0]}], one per token)")
