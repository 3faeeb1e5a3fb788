"""Log-probability of the tokens that were taken, and entropy, from hidden states without the [N, V] matrix."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sgpo.vocabulary.projection import Gradient, accumulation_dtype, checked, chunks, log_softmax


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
    checked(weight_VD, temperature, chunk_size, hidden=hidden_ND)
    check_targets(targets_N, hidden_ND)
    return _TokenLogprobs.apply(hidden_ND, weight_VD, targets_N, float(temperature), chunk_size)  # type: ignore[return-value]


def check_targets(targets_N: torch.Tensor, hidden_ND: torch.Tensor) -> None:
    """Raise ValueError unless there is one token id per hidden state."""
    if targets_N.shape != hidden_ND.shape[:1] or targets_N.dtype != torch.int64:
        raise ValueError(
            f"targets are {targets_N.dtype} of shape {tuple(targets_N.shape)} "
            f"(expected int64 of shape [{hidden_ND.shape[0]}], one token id per hidden state)"
        )


class _TokenLogprobs(torch.autograd.Function):
    """Log-probability and entropy with their gradient: z = logits, p = softmax(z), H = -sum_v p_v log p_v.

    d log p_y / d z_v = 1[v = y] - p_v        and        d H / d z_v = -p_v (log p_v + H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        temperature: float,
        chunk_size: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = accumulation_dtype(hidden_ND.dtype)
        logprobs_N = hidden_ND.new_empty(hidden_ND.shape[0], dtype=dtype)
        entropy_N = torch.empty_like(logprobs_N)
        spans = chunks(hidden_ND, weight_VD.shape[0], chunk_size)
        kept_CV = None
        for span in spans:
            logprobs_CV = log_softmax(hidden_ND[span], weight_VD, temperature)
            logprobs_N[span] = logprobs_CV.gather(1, targets_N[span, None])[:, 0]
            entropy_N[span] = -logprobs_CV.exp().mul_(logprobs_CV).sum(dim=-1)
            kept_CV = logprobs_CV if len(spans) == 1 else None
            del logprobs_CV  # or it would outlive its chunk
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N, entropy_N, kept_CV)
        ctx.temperature, ctx.spans = temperature, spans
        ctx.set_materialize_grads(False)
        return logprobs_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlogprobs_N: torch.Tensor | None, dentropy_N: torch.Tensor | None) -> Any:  # type: ignore[override]
        hidden_ND, weight_VD, targets_N, entropy_N, kept_CV = ctx.saved_tensors
        gradient = Gradient(hidden_ND, weight_VD, ctx.temperature, ctx.needs_input_grad[:2])
        for span in ctx.spans:
            logprobs_CV = log_softmax(hidden_ND[span], weight_VD, ctx.temperature) if kept_CV is None else kept_CV
            probs_CV = logprobs_CV.exp()
            if dentropy_N is None:
                dlogits_CV = torch.zeros_like(probs_CV) if dlogprobs_N is None else probs_CV * -dlogprobs_N[span, None]
            else:
                slope_CV = (logprobs_CV + entropy_N[span, None]).mul_(dentropy_N[span, None])
                if dlogprobs_N is not None:
                    slope_CV += dlogprobs_N[span, None]
                dlogits_CV = slope_CV.mul_(probs_CV).neg_()
            if dlogprobs_N is not None:
                dlogits_CV.scatter_add_(1, targets_N[span, None], dlogprobs_N[span, None])
            gradient.add(span, dlogits_CV)
            del logprobs_CV, probs_CV, dlogits_CV
        return *gradient.result(), None, None, None
