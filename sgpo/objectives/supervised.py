"""Cross-entropy on given responses: SFT on expert traces, HPT's supervised branch, direct SFT on a guided target."""

from __future__ import annotations

import torch

from sgpo.objectives.rows import response_mask


def supervised_row_losses(logprobs_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """loss_i = -(1/|y_i|) sum_t log pi_theta(y_it | x_i, y_i<t), [B]: the token mean of each response.

    Raises ValueError on mismatched shapes or a row without tokens. B = 0 gives an empty loss.
    """
    mask_BT, lengths_B = response_mask(mask_BT, logprobs=logprobs_BT)
    return -logprobs_BT.masked_fill(~mask_BT, 0.0).sum(dim=1) / lengths_B
