"""Hidden states through the output projection, one chunk of tokens at a time, and back.

The vocabulary-wide functions never hold a [N, V] matrix. They walk over chunks of C tokens, whose [C, V] matrix fits
a budget, in forward, and walk again in backward, recomputing it. When all tokens fit one chunk its log-softmax is kept
instead: memory stays within the budget, and the cost is that of plain autograd.

bfloat16 and float16 inputs are multiplied, summed and normalised in float32; float64 stays float64.
"""

import torch

CHUNK_ELEMENTS = {"cpu": 2**24, "cuda": 2**27}
"""Largest [C, V] matrix when no chunk size is given: 64 MiB in float32, and 512 MiB where products need many rows."""


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


def log_softmax(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return log softmax(hidden W^T / temperature) of one chunk, [C, V]."""
    logits_CV = matmul(hidden_CD, weight_VD.t())
    if temperature != 1.0:
        logits_CV.div_(temperature)
    return logits_CV.log_softmax(dim=-1)


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
        if self._hidden is not None:
            self._hidden[span] = matmul(dlogits_CV, self.weight_VD)
        if self._weight is not None:
            add_matmul(self._weight, dlogits_CV.t(), self.hidden_ND[span])

    def result(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """(d/d hidden, d/d weight) in the dtypes of the inputs; None where not needed."""
        return self._hidden, None if self._weight is None else self._weight.to(self.weight_VD.dtype)
