"""Kullback-Leibler divergence between two contexts under one set of weights [SGPO Eq. 3], without the [N, V] matrix."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sgpo.vocabulary.fused import linear_divergence_loss


def linear_forward_kl(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """Return d_n = KL(sg[p_n] || q_n) = sum_v p_nv (log p_nv - log q_nv) in nats [SGPO Eq. 3], [N].

    p_n = softmax(W h_n / temperature) of the teacher side (for SGPO: the prompt with the strategy), q_n the same of the
    student side (without), over the whole vocabulary. sg is stop-gradient: the gradient goes to `student_hidden_ND`
    and, through the student side only, to `weight_VD`; none goes to `teacher_hidden_ND`. `chunk_size` is in tokens;
    None takes the most that keeps a chunk's [C, V] matrix within `CHUNK_ELEMENTS`. N = 0 gives an empty output and
    zero gradients. The output is float32, or float64 for float64 inputs.

    Raises ValueError when shapes, dtypes or settings do not fit together.
    """
    return _LinearKL.apply(student_hidden_ND, teacher_hidden_ND, weight_VD, temperature, chunk_size, False)  # type: ignore


def linear_reverse_kl(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """Return KL(q_n || sg[p_n]) = sum_v q_nv (log q_nv - log p_nv), [N]; else as `linear_forward_kl` (an ablation)."""
    return _LinearKL.apply(student_hidden_ND, teacher_hidden_ND, weight_VD, temperature, chunk_size, True)  # type: ignore


class _LinearKL(torch.autograd.Function):
    """The divergences in one pass, and in another their gradient: that of the sum of slope times divergence."""

    @staticmethod
    def forward(
        ctx: Any,
        student_ND: torch.Tensor,
        teacher_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        temperature: float,
        chunk_size: int | None,
        reverse: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(student_ND, teacher_ND, weight_VD)
        ctx.settings = temperature, chunk_size, reverse
        return linear_divergence_loss(student_ND, teacher_ND, weight_VD, lambda kl_C, _: kl_C, *ctx.settings)[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dkl_N: torch.Tensor) -> Any:  # type: ignore[override]
        student_ND, teacher_ND, weight_VD = ctx.saved_tensors
        leaves = student_ND.detach().requires_grad_(), weight_VD.detach().requires_grad_()
        with torch.enable_grad():
            loss, _ = linear_divergence_loss(
                leaves[0], teacher_ND, leaves[1], lambda kl_C, span: kl_C * dkl_N[span], *ctx.settings
            )
        dstudent_ND, dweight_VD = torch.autograd.grad(loss, leaves)
        return dstudent_ND, None, dweight_VD, None, None, None
