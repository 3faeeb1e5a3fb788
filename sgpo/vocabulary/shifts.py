"""What a context changes in the next-token distribution, token by token, for a person to look at [SGPO Eq. 3]."""

from dataclasses import dataclass

import torch

from sgpo.vocabulary.projection import accumulation_dtype, checked_sides, chunks, divergence, log_softmax


@dataclass(frozen=True, slots=True)
class Shifts:
    """N response tokens under the unguided (student's) and the guided (teacher's) distribution, without gradient.

    `kl_N` is d_t in nats; `logprobs_N` and `guided_logprobs_N` are of the response's own tokens. `ids_NK` has the most
    likely tokens of the unguided side, most likely first, then those of the guided one (a token may be there twice);
    `probs_NK` and `guided_probs_NK` are their probabilities on both sides.
    """

    kl_N: torch.Tensor
    logprobs_N: torch.Tensor
    guided_logprobs_N: torch.Tensor
    ids_NK: torch.Tensor
    probs_NK: torch.Tensor
    guided_probs_NK: torch.Tensor

    def rows(self, lengths: list[int]) -> list["Shifts"]:
        """Return the shifts of rows of so many tokens each, in order."""
        parts = [getattr(self, name).split(lengths) for name in self.__slots__]
        return [Shifts(*tensors) for tensors in zip(*parts, strict=True)]


@torch.no_grad()
def linear_shifts(
    student_hidden_ND: torch.Tensor,
    teacher_hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    top: int,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    reverse: bool = False,
    teacher_weight_VD: torch.Tensor | None = None,
) -> Shifts:
    """Return both distributions' `top` tokens and d_t, as in `linear_forward_kl` (`linear_reverse_kl`) [SGPO Eq. 3].

    `targets_N` are the response's tokens. At most the vocabulary is returned of each side. No [N, V] matrix is held.
    Raises ValueError when shapes, dtypes or settings do not fit together.
    """
    if student_hidden_ND.shape != teacher_hidden_ND.shape or targets_N.shape != student_hidden_ND.shape[:1]:
        raise ValueError(
            f"student_hidden has {student_hidden_ND.shape[0]} tokens, teacher_hidden {teacher_hidden_ND.shape[0]} and "
            f"targets {tuple(targets_N.shape)} (expected the same response tokens)"
        )
    teacher_VD = checked_sides(
        student_hidden_ND, teacher_hidden_ND, weight_VD, teacher_weight_VD, temperature, chunk_size
    )
    tokens, vocabulary = len(targets_N), weight_VD.shape[0]
    top = min(top, vocabulary)
    kl_N = student_hidden_ND.new_empty(tokens, dtype=accumulation_dtype(student_hidden_ND.dtype))
    shifts = Shifts(
        kl_N, torch.empty_like(kl_N), torch.empty_like(kl_N),
        targets_N.new_empty(tokens, 2 * top), kl_N.new_empty(tokens, 2 * top), kl_N.new_empty(tokens, 2 * top),
    )  # fmt: skip
    for span in chunks(student_hidden_ND, vocabulary, chunk_size):
        logq_CV = log_softmax(student_hidden_ND[span], weight_VD, temperature)
        logp_CV = log_softmax(teacher_hidden_ND[span], teacher_VD, temperature)
        ids_CK = torch.cat([logq_CV.topk(top).indices, logp_CV.topk(top).indices], dim=1)
        shifts.ids_NK[span] = ids_CK
        shifts.probs_NK[span] = logq_CV.gather(1, ids_CK).exp()
        shifts.guided_probs_NK[span] = logp_CV.gather(1, ids_CK).exp()
        shifts.logprobs_N[span] = logq_CV.gather(1, targets_N[span, None])[:, 0]
        shifts.guided_logprobs_N[span] = logp_CV.gather(1, targets_N[span, None])[:, 0]
        kl_N[span] = divergence(logq_CV, logp_CV, reverse)[0]
    return shifts
