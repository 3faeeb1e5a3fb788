"""Losses of tokens over the whole vocabulary in one pass: the gradient is found in forward, chunk by chunk.

`linear_token_logprobs` and the divergences compute a chunk's logits twice, because in forward nobody knows yet what the
values will be used for. Where the loss is known, once is enough: each chunk's values go to `token_loss`, whose slope
gives the gradient of the chunk's logits at once. That costs what plain autograd costs in products, in the memory of
a chunk and of the gradients themselves.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sgpo.vocabulary.passes import divergence_slopes, divergence_values, logprob_slopes, logprob_values
from sgpo.vocabulary.projection import (
    Gradient,
    accumulation_dtype,
    checked,
    checked_sides,
    chunks,
    divergence,
    log_softmax,
    scaled_logits,
)

DivergenceLoss = Callable[[torch.Tensor, slice], torch.Tensor]
"""(kl_C, span) -> loss_C, elementwise and differentiable; `span` says which of the N tokens these are."""
LogprobLoss = Callable[[torch.Tensor, torch.Tensor, slice], torch.Tensor]
"""(logprobs_C, entropy_C, span) -> loss_C, likewise."""


def linear_divergence_loss(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    token_loss: DivergenceLoss,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    reverse: bool = False,
    teacher_weight_VD: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum_n token_loss(d_n), d_N) with d_n as in `linear_forward_kl`, or `linear_reverse_kl` [SGPO Eqs. 3, 5].

    The gradient of the loss is that of the two-pass functions: to the student's hidden states and, through the student
    side only, to the weight. d_N is for clipping, logging and viewing, and carries none. Raises ValueError likewise.
    """
    teacher_VD = checked_sides(
        student_hidden_ND, teacher_hidden_ND, weight_VD, teacher_weight_VD, temperature, chunk_size
    )
    kl_N = student_hidden_ND.new_empty(student_hidden_ND.shape[0], dtype=accumulation_dtype(student_hidden_ND.dtype))
    collected = _Collected(student_hidden_ND, weight_VD, temperature)

    def one_chunk(span: slice) -> None:
        logq_CV = log_softmax(student_hidden_ND[span], weight_VD, temperature)
        logp_CV = log_softmax(teacher_hidden_ND[span], teacher_VD, temperature)
        kl_N[span], first_CV, difference_CV = divergence(logq_CV, logp_CV, reverse)
        (grad_C,) = collected.token_gradients(token_loss, span, kl_N[span])
        if grad_C is None:
            return
        # d KL(q || p) / d z_v = q_v (log q_v - log p_v - KL)  and  d KL(p || q) / d z_v = q_v - p_v
        reverse_CV = difference_CV.sub_(kl_N[span, None]).mul_(first_CV) if reverse else None
        dlogits_CV = logq_CV.exp_().sub_(first_CV) if reverse_CV is None else reverse_CV
        collected.gradient.add(span, dlogits_CV.mul_(grad_C[:, None]))

    def one_chunk_in_few_passes(span: slice) -> None:
        student_CV = scaled_logits(student_hidden_ND[span], weight_VD, temperature)
        teacher_CV = scaled_logits(teacher_hidden_ND[span], teacher_VD, temperature)
        kl_N[span], student_C, teacher_C = divergence_values(student_CV, teacher_CV, reverse)
        (grad_C,) = collected.token_gradients(token_loss, span, kl_N[span])
        if grad_C is not None:
            sides = student_CV, teacher_CV, student_C, teacher_C
            dlogits_CV = divergence_slopes(*sides, kl_N[span], grad_C, reverse, temperature, weight_VD.dtype)
            collected.gradient.add_product(span, dlogits_CV)

    on_chunk = one_chunk_in_few_passes if student_hidden_ND.is_cuda else one_chunk
    with torch.no_grad():
        for span in chunks(student_hidden_ND, weight_VD.shape[0], chunk_size):
            on_chunk(span)  # a call, so that no [C, V] matrix outlives its chunk
    return collected.attach(), kl_N


def linear_logprob_loss(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    token_loss: LogprobLoss,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sum_n token_loss(log p_n, H_n), logprobs_N, entropy_N), the values as in `linear_token_logprobs`.

    The gradient is that of the two-pass function. logprobs_N and entropy_N carry none. Raises ValueError likewise.
    """
    checked(weight_VD, temperature, chunk_size, hidden=hidden_ND)
    if targets_N.shape != hidden_ND.shape[:1] or targets_N.dtype != torch.int64:
        raise ValueError(
            f"targets are {targets_N.dtype} of shape {tuple(targets_N.shape)} "
            f"(expected int64 of shape [{hidden_ND.shape[0]}], one token id per hidden state)"
        )
    logprobs_N = hidden_ND.new_empty(hidden_ND.shape[0], dtype=accumulation_dtype(hidden_ND.dtype))
    entropy_N = torch.empty_like(logprobs_N)
    collected = _Collected(hidden_ND, weight_VD, temperature)

    def one_chunk(span: slice) -> None:
        logprobs_CV = log_softmax(hidden_ND[span], weight_VD, temperature)
        logprobs_N[span] = logprobs_CV.gather(1, targets_N[span, None])[:, 0]
        probs_CV = logprobs_CV.exp()
        entropy_N[span] = -torch.linalg.vecdot(probs_CV, logprobs_CV)
        grad_C, entropy_grad_C = collected.token_gradients(token_loss, span, logprobs_N[span], entropy_N[span])
        if grad_C is None and entropy_grad_C is None:
            return
        # d log p_y / d z_v = 1[v = y] - p_v  and  d H / d z_v = -p_v (log p_v + H)
        if entropy_grad_C is None:
            dlogits_CV = probs_CV.mul_(-grad_C[:, None])  # type: ignore[index]
        else:
            weights_CV = logprobs_CV.add_(entropy_N[span, None]).mul_(entropy_grad_C[:, None])
            if grad_C is not None:
                weights_CV.add_(grad_C[:, None])
            dlogits_CV = weights_CV.mul_(probs_CV).neg_()
        if grad_C is not None:
            dlogits_CV.scatter_add_(1, targets_N[span, None], grad_C[:, None])
        collected.gradient.add(span, dlogits_CV)

    def one_chunk_in_few_passes(span: slice) -> None:
        logits_CV = scaled_logits(hidden_ND[span], weight_VD, temperature)
        logprobs_N[span], entropy_N[span], normaliser_C = logprob_values(logits_CV, targets_N[span])
        values = logprobs_N[span], entropy_N[span]
        grad_C, entropy_grad_C = collected.token_gradients(token_loss, span, *values)
        if grad_C is not None or entropy_grad_C is not None:
            slopes = [
                torch.zeros_like(values[0]) if slope_C is None else slope_C for slope_C in (grad_C, entropy_grad_C)
            ]
            of_rows = targets_N[span], normaliser_C, entropy_N[span]
            dlogits_CV = logprob_slopes(logits_CV, *of_rows, *slopes, temperature, weight_VD.dtype)
            collected.gradient.add_product(span, dlogits_CV)

    on_chunk = one_chunk_in_few_passes if hidden_ND.is_cuda else one_chunk
    with torch.no_grad():
        for span in chunks(hidden_ND, weight_VD.shape[0], chunk_size):
            on_chunk(span)
    return collected.attach(), logprobs_N, entropy_N


class _Collected:
    """The sum of the token losses and its gradients, over the chunks."""

    def __init__(self, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, temperature: float) -> None:
        self.hidden_ND, self.weight_VD = hidden_ND, weight_VD
        wanted = torch.is_grad_enabled()
        needs = wanted and hidden_ND.requires_grad, wanted and weight_VD.requires_grad
        self.gradient = Gradient(hidden_ND, weight_VD, temperature, needs)
        self.needs_any = any(needs)
        self.loss = hidden_ND.new_zeros((), dtype=accumulation_dtype(hidden_ND.dtype))

    def token_gradients(
        self, token_loss: Callable[..., torch.Tensor], span: slice, *values_C: torch.Tensor
    ) -> list[torch.Tensor | None]:
        """Return d loss / d value of one chunk; None where the loss does not depend on it, or all of it is zero."""
        with torch.enable_grad():
            leaves = [value_C.detach().requires_grad_() for value_C in values_C]
            loss_C = token_loss(*leaves, span)
            total = loss_C.sum()
        if loss_C.shape != leaves[0].shape:
            raise ValueError(f"token_loss gave {tuple(loss_C.shape)} for tokens {tuple(leaves[0].shape)}")
        self.loss += total.detach()
        if not (self.needs_any and total.requires_grad):
            return [None] * len(leaves)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
        return [None if grad_C is None or not bool(grad_C.any()) else grad_C for grad_C in gradients]

    def attach(self) -> torch.Tensor:
        """Return the loss as a scalar that hands the gradients out."""
        return _Attached.apply(self.loss, self.hidden_ND, self.weight_VD, *self.gradient.result())  # type: ignore[return-value]


class _Attached(torch.autograd.Function):
    """A scalar whose gradients are known already; backward multiplies them by the upstream gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: torch.Tensor,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        dhidden_ND: torch.Tensor | None,
        dweight_VD: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(dhidden_ND, dweight_VD)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: torch.Tensor) -> Any:  # type: ignore[override]
        dhidden_ND, dweight_VD = ctx.saved_tensors
        if float(dloss) != 1.0:
            dhidden_ND = None if dhidden_ND is None else dhidden_ND * dloss.to(dhidden_ND.dtype)
            dweight_VD = None if dweight_VD is None else dweight_VD * dloss.to(dweight_VD.dtype)
        return None, dhidden_ND, dweight_VD, None, None
