"""Log-probability of the tokens that were taken, and entropy, from hidden states without the [N, V] matrix."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sgpo.vocabulary.fused import linear_logprob_loss


def linear_token_logprobs(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logprobs_N, entropy_N): log pi(y_n) and H(pi_n) in nats, of pi_n = softmax(W h_n / temperature).

    The softmax is over the whole vocabulary at the sampling temperature, before any top-p cut. Both outputs carry
    their exact gradient to `hidden_ND` and `weight_VD`. `targets_N` are token ids (int64). `chunk_size` is in tokens;
    None takes the most that keeps a chunk's [C, V] matrix within `CHUNK_ELEMENTS`. N = 0 gives empty outputs and
    zero gradients. Outputs are float32, or float64 for float64 inputs.

    Raises ValueError when shapes, dtypes or settings do not fit together.
    """
    return _TokenLogprobs.apply(hidden_ND, weight_VD, targets_N, temperature, chunk_size)  # type: ignore[return-value]


class _TokenLogprobs(torch.autograd.Function):
    """The values in one pass, and in another their gradient: that of the sum of slopes times values."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        temperature: float,
        chunk_size: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        ctx.settings = temperature, chunk_size
        ctx.set_materialize_grads(False)
        return linear_logprob_loss(hidden_ND, weight_VD, targets_N, lambda logp_C, *_: logp_C, *ctx.settings)[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogprobs_N: torch.Tensor | None, dentropy_N: torch.Tensor | None) -> Any:  # type: ignore[override]
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        leaves = hidden_ND.detach().requires_grad_(), weight_VD.detach().requires_grad_()

        def weighted(logprobs_C: torch.Tensor, entropy_C: torch.Tensor, span: slice) -> torch.Tensor:
            parts = zip((logprobs_C, entropy_C), (dlogprobs_N, dentropy_N), strict=True)
            terms = [values_C * slopes_N[span] for values_C, slopes_N in parts if slopes_N is not None]
            return torch.stack(terms).sum(dim=0) if terms else torch.zeros_like(logprobs_C)

        with torch.enable_grad():
            loss, _, _ = linear_logprob_loss(*leaves, targets_N, weighted, *ctx.settings)
        return *torch.autograd.grad(loss, leaves), None, None, None
