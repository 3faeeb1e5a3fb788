"""What is computed of a chunk's logits on a GPU, in as few passes over them as there can be.

Element by element work on a [C, V] matrix costs its bytes. As separate operations a loss reads and writes the matrix
a dozen times; each function here is compiled into one or two kernels, which read it once for the values, and
once more for the slopes, which they write in the precision that the products take.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def compiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return the function compiled; where that fails it computes as it is from then on, with one warning."""
    call: Callable[..., Result] = torch.compile(function)

    @wraps(function)
    def run(*arguments: object) -> Result:
        nonlocal call
        try:
            return call(*arguments)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            logger.warning("%s cannot be compiled (%s): it computes slower", function.__name__, reason)
            call = function
            return function(*arguments)

    return run


@compiled
def logprob_values(logits_CV: torch.Tensor, targets_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (log p of the targets, entropy, log of the sum of exponentials) of each row, [C] each."""
    normaliser_C = logits_CV.logsumexp(dim=-1)
    logprobs_CV = logits_CV - normaliser_C[:, None]
    entropy_C = -(logprobs_CV.exp() * logprobs_CV).sum(dim=-1)
    return logits_CV.gather(1, targets_C[:, None])[:, 0] - normaliser_C, entropy_C, normaliser_C


@compiled
def logprob_slopes(
    logits_CV: torch.Tensor, targets_C: torch.Tensor, normaliser_C: torch.Tensor, entropy_C: torch.Tensor,
    grad_C: torch.Tensor, entropy_grad_C: torch.Tensor, temperature: float, dtype: torch.dtype,
) -> torch.Tensor:  # fmt: skip
    """Return d loss / d (hidden W^T), [C, V] in `dtype`, from the slopes at log p of the target and at the entropy."""
    logprobs_CV = logits_CV - normaliser_C[:, None]
    # d log p_y / d z_v = 1[v = y] - p_v  and  d H / d z_v = -p_v (log p_v + H)
    slopes_CV = -logprobs_CV.exp() * (grad_C[:, None] + entropy_grad_C[:, None] * (logprobs_CV + entropy_C[:, None]))
    taken_CV = torch.arange(logits_CV.shape[1], device=logits_CV.device) == targets_C[:, None]
    slopes_CV = torch.where(taken_CV, slopes_CV + grad_C[:, None], slopes_CV)
    return (slopes_CV / temperature).to(dtype)


@compiled
def divergence_values(
    student_CV: torch.Tensor, teacher_CV: torch.Tensor, reverse: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (d, student's and teacher's log of the sum of exponentials) of each row, [C] each [SGPO Eq. 3]."""
    student_C, teacher_C = student_CV.logsumexp(dim=-1), teacher_CV.logsumexp(dim=-1)
    logq_CV, logp_CV = student_CV - student_C[:, None], teacher_CV - teacher_C[:, None]
    terms_CV = logq_CV.exp() * (logq_CV - logp_CV) if reverse else logp_CV.exp() * (logp_CV - logq_CV)
    return terms_CV.sum(dim=-1).clamp_min(0.0), student_C, teacher_C


@compiled
def divergence_slopes(
    student_CV: torch.Tensor, teacher_CV: torch.Tensor, student_C: torch.Tensor, teacher_C: torch.Tensor,
    kl_C: torch.Tensor, grad_C: torch.Tensor, reverse: bool, temperature: float, dtype: torch.dtype,
) -> torch.Tensor:  # fmt: skip
    """Return d loss / d (student's hidden W^T), [C, V] in `dtype`, from the slope at each row's divergence."""
    logq_CV, logp_CV = student_CV - student_C[:, None], teacher_CV - teacher_C[:, None]
    # d KL(q || p) / d z_v = q_v (log q_v - log p_v - KL)  and  d KL(p || q) / d z_v = q_v - p_v
    slopes_CV = logq_CV.exp() * (logq_CV - logp_CV - kl_C[:, None]) if reverse else logq_CV.exp() - logp_CV.exp()
    return (slopes_CV * grad_C[:, None] / temperature).to(dtype)
