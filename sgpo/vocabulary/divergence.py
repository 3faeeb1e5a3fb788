"""Kullback-Leibler divergence between two contexts under one set of weights [SGPO Eq. 3], without the [N, V] matrix."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sgpo.vocabulary.projection import Gradient, accumulation_dtype, checked, chunks, log_softmax


def linear_forward_kl(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """d_n = KL(sg[p_n] || q_n) = sum_v p_nv (log p_nv - log q_nv) in nats [SGPO Eq. 3], [N].

    p_n = softmax(W h_n / temperature) of the teacher side (for SGPO: the prompt with the strategy), q_n the same of the
    student side (without), over the whole vocabulary. sg is stop-gradient: the gradient goes to `student_hidden_ND`
    and, through the student side only, to `weight_VD`; none goes to `teacher_hidden_ND`. `chunk_size` is in tokens;
    None takes the most that keeps a chunk's [C, V] matrix within `CHUNK_ELEMENTS`. N = 0 gives an empty output and
    zero gradients. The output is float32, or float64 for float64 inputs.

    Raises ValueError when shapes, dtypes or settings do not fit together.
    """
    return _divergence(student_hidden_ND, teacher_hidden_ND, weight_VD, temperature, chunk_size, reverse=False)


def linear_reverse_kl(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """KL(q_n || sg[p_n]) = sum_v q_nv (log q_nv - log p_nv), [N]; else as `linear_forward_kl` (an ablation)."""
    return _divergence(student_hidden_ND, teacher_hidden_ND, weight_VD, temperature, chunk_size, reverse=True)


def _divergence(
    student_ND: torch.Tensor,
    teacher_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    temperature: float,
    chunk_size: int | None,
    reverse: bool,
) -> torch.Tensor:
    checked(weight_VD, temperature, chunk_size, student_hidden=student_ND, teacher_hidden=teacher_ND)
    check_contexts(student_ND, teacher_ND)
    return _LinearKL.apply(student_ND, teacher_ND, weight_VD, float(temperature), chunk_size, reverse)  # type: ignore[return-value]


def check_contexts(student_ND: torch.Tensor, teacher_ND: torch.Tensor) -> None:
    """Raise ValueError unless both sides have the same response tokens."""
    if student_ND.shape != teacher_ND.shape:
        raise ValueError(
            f"student_hidden has {student_ND.shape[0]} tokens and teacher_hidden {teacher_ND.shape[0]} "
            "(expected the same response tokens in both contexts)"
        )


class _LinearKL(torch.autograd.Function):
    """The divergence with its gradient: z the student's logits, q = softmax(z), p constant.

    forward:  d KL(p || q) / d z_v = q_v - p_v;
    reverse:  d KL(q || p) / d z_v = q_v (log q_v - log p_v - KL(q || p)).
    """

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
        kl_N = student_ND.new_empty(student_ND.shape[0], dtype=accumulation_dtype(student_ND.dtype))
        spans = chunks(student_ND, weight_VD.shape[0], chunk_size)
        kept_CV = (None, None)
        for span in spans:
            logq_CV = log_softmax(student_ND[span], weight_VD, temperature)
            logp_CV = log_softmax(teacher_ND[span], weight_VD, temperature)
            first_CV, second_CV = (logq_CV, logp_CV) if reverse else (logp_CV, logq_CV)
            # Rounding may take the KL of two equal distributions just below zero, where it never is.
            kl_N[span] = (first_CV - second_CV).mul_(first_CV.exp()).sum(dim=-1).clamp_min_(0.0)
            kept_CV = (logq_CV, logp_CV) if len(spans) == 1 else (None, None)
            del logq_CV, logp_CV, first_CV, second_CV  # or they would outlive their chunk
        ctx.save_for_backward(student_ND, teacher_ND, weight_VD, kl_N, *kept_CV)
        ctx.temperature, ctx.spans, ctx.reverse = temperature, spans, reverse
        return kl_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dkl_N: torch.Tensor) -> Any:  # type: ignore[override]
        student_ND, teacher_ND, weight_VD, kl_N, *kept_CV = ctx.saved_tensors
        needs_student, _, needs_weight = ctx.needs_input_grad[:3]
        gradient = Gradient(student_ND, weight_VD, ctx.temperature, (needs_student, needs_weight))
        for span in ctx.spans:
            if kept_CV[0] is not None:
                logq_CV, logp_CV = kept_CV
            else:
                logq_CV = log_softmax(student_ND[span], weight_VD, ctx.temperature)
                logp_CV = log_softmax(teacher_ND[span], weight_VD, ctx.temperature)
            if ctx.reverse:
                dlogits_CV = (logq_CV - logp_CV).sub_(kl_N[span, None]).mul_(logq_CV.exp())
            else:
                dlogits_CV = logq_CV.exp() - logp_CV.exp()
            gradient.add(span, dlogits_CV.mul_(dkl_N[span, None]))
            del logq_CV, logp_CV, dlogits_CV
        dstudent_ND, dweight_VD = gradient.result()
        return dstudent_ND, None, dweight_VD, None, None, None
