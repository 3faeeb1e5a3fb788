"""Hidden states through the output projection, one chunk of tokens at a time, and back.

The vocabulary-wide functions never hold a [N, V] matrix. They walk over chunks of C tokens, whose [C, V] matrix fits
a budget, in forward, and walk again in backward, recomputing it. When all tokens fit one chunk its log-softmax is kept
instead: memory stays within the budget, and the cost is that of plain autograd.

bfloat16 and float16 inputs are multiplied, summed and normalised in float32; float64 stays float64.
"""

import torch

CHUNK_ELEMENTS = {"cpu": 2**24, "cuda": 2**28}
"""Largest [C, V] matrix when no chunk size is given: 64 MiB in float32, and 1 GiB where products need many rows."""


def checked(weight_VD: torch.Tensor, temperature: float, chunk_size: int | None, **hidden_ND: torch.Tensor) -> None:
    """Raise ValueError, naming the argument, unless shapes, dtypes and settings fit together."""
    if weight_VD.dim() != 2 or weight_VD.shape[0] == 0:
        raise ValueError(f"weight has shape {tuple(weight_VD.shape)} (expected [vocabulary, hidden])")
    for name, tensor in hidden_ND.items():
        if tensor.dim() != 2 or tensor.shape[1] != weight_VD.shape[1]:
            expected = f"expected [tokens, {weight_VD.shape[1]}] for a weight of {tuple(weight_VD.shape)}"
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} ({expected})")
        if tensor.dtype != weight_VD.dtype or not tensor.is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype} but weight is {weight_VD.dtype} (expected one floating dtype)")
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature} (expected a positive finite number)")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size} (expected at least 1 token, or None for automatic)")


def checked_sides(
    student_hidden_ND: torch.Tensor, teacher_hidden_ND: torch.Tensor, weight_VD: torch.Tensor,
    teacher_weight_VD: torch.Tensor | None, temperature: float, chunk_size: int | None,
) -> torch.Tensor:  # fmt: skip
    """Return the teacher side's weight, the student's where it has none of its own; ValueError as `checked`."""
    checked(weight_VD, temperature, chunk_size, student_hidden=student_hidden_ND, teacher_hidden=teacher_hidden_ND)
    if student_hidden_ND.shape != teacher_hidden_ND.shape:
        raise ValueError(
            f"student_hidden has {student_hidden_ND.shape[0]} tokens and teacher_hidden {teacher_hidden_ND.shape[0]} "
            "(expected the same response tokens in both contexts)"
        )
    teacher_VD = weight_VD if teacher_weight_VD is None else teacher_weight_VD
    checked(teacher_VD, temperature, chunk_size, teacher_hidden=teacher_hidden_ND)
    return teacher_VD


def chunks(hidden_ND: torch.Tensor, vocabulary: int, chunk_size: int | None) -> list[slice]:
    """Spans that cover the tokens; none when there are no tokens."""
    tokens, budget = hidden_ND.shape[0], CHUNK_ELEMENTS["cuda" if hidden_ND.is_cuda else "cpu"]
    size = chunk_size or max(1, budget // vocabulary)
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def matmul(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right, summed and returned in the accumulation dtype."""
    dtype = accumulation_dtype(right.dtype)
    if right.dtype == dtype:
        return left.to(dtype) @ right
    if right.is_cuda:
        # Tensor cores multiply 16-bit numbers and add in float32; only the result must not be rounded back.
        return torch.mm(left.to(right.dtype), right, out_dtype=dtype)
    return left.to(dtype) @ right.to(dtype)


def add_matmul(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left @ right to `total` in place, in the accumulation dtype, without a temporary of the size of `total`."""
    if right.is_cuda and right.dtype != total.dtype:
        torch.addmm(total, left.to(right.dtype), right, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(left, right.to(total.dtype))


def scaled_logits(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return hidden W^T / temperature of one chunk, [C, V]."""
    logits_CV = matmul(hidden_CD, weight_VD.t())
    if temperature != 1.0:
        logits_CV.div_(temperature)
    return logits_CV


def log_softmax(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return log softmax(hidden W^T / temperature) of one chunk, [C, V]."""
    return scaled_logits(hidden_CD, weight_VD, temperature).log_softmax(dim=-1)


def divergence(
    logq_CV: torch.Tensor, logp_CV: torch.Tensor, reverse: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (d_C, first_CV, difference_CV) with d = sum_v first (difference): KL(p || q), in reverse KL(q || p).

    `logp_CV` is overwritten: a chunk's memory holds no fourth matrix.
    """
    first_CV = (logq_CV if reverse else logp_CV).exp()
    difference_CV = logp_CV.sub_(logq_CV)
    if reverse:
        difference_CV.neg_()
    return torch.linalg.vecdot(first_CV, difference_CV).clamp_min_(0.0), first_CV, difference_CV


class Gradient:
    """Collects d/d hidden and d/d weight over chunks from d/d logits, in the accumulation dtype.

    With z = h W^T / temperature: dh = dz W / temperature and dW = dz^T h / temperature, summed over tokens.
    """

    def __init__(
        self, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, temperature: float, needs: tuple[bool, bool]
    ) -> None:
        self.hidden_ND, self.weight_VD, self.temperature = hidden_ND, weight_VD, temperature
        dtype = accumulation_dtype(hidden_ND.dtype)
        self._hidden = torch.zeros_like(hidden_ND) if needs[0] else None
        self._weight = torch.zeros_like(weight_VD, dtype=dtype) if needs[1] else None

    def add(self, span: slice, dlogits_CV: torch.Tensor) -> None:
        """Account for one chunk; `dlogits_CV` is overwritten."""
        if self.temperature != 1.0:
            dlogits_CV.div_(self.temperature)
        self.add_product(span, dlogits_CV)

    def add_product(self, span: slice, dlogits_CV: torch.Tensor) -> None:
        """Account for one chunk by d/d (hidden W^T): what is divided by the temperature already."""
        if self._hidden is not None:
            self._hidden[span] = matmul(dlogits_CV, self.weight_VD)
        if self._weight is not None:
            add_matmul(self._weight, dlogits_CV.t(), self.hidden_ND[span])

    def result(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(d/d hidden, d/d weight) in the dtypes of the inputs; None where not needed."""
        return self._hidden, None if self._weight is None else self._weight.to(self.weight_VD.dtype)
