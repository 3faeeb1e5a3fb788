"""What the losses over responses [B, T] share: which positions are response tokens, and how many."""

import torch


def response_mask(mask_BT: torch.Tensor, **values_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mask_BT as bool, lengths_B = |o_i| in the dtype of the values).

    Raises ValueError, naming the argument, on a shape mismatch, a mask that is not 0/1, or a row without any token.
    """
    if mask_BT.dim() != 2:
        raise ValueError(f"mask has shape {tuple(mask_BT.shape)} (expected [rows, positions])")
    for name, tensor in values_BT.items():
        if tensor.shape != mask_BT.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} (expected {tuple(mask_BT.shape)}, as the mask)")
    if mask_BT.dtype != torch.bool:
        if not bool(((mask_BT == 0) | (mask_BT == 1)).all()):
            raise ValueError("mask has values other than 0 and 1")
        mask_BT = mask_BT.bool()
    lengths_B = mask_BT.sum(dim=1)
    empty = (lengths_B == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"row {empty[0]} of the mask has no token (expected at least 1 per response; leave it out)")
    dtype = next(iter(values_BT.values())).dtype
    return mask_BT, lengths_B.to(dtype)
