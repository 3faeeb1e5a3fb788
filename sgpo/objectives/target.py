"""The reachable target among the correct guided trajectories [SGPO Eq. 4]."""

from collections.abc import Sequence
from typing import Literal

import torch


def select_target(
    logprob_sums_C: torch.Tensor,
    lengths_C: torch.Tensor,
    how: Literal["sum", "mean", "random"] = "sum",
    generator: torch.Generator | None = None,
) -> int:
    """o+ = argmax_{g in C} sum_t log pi_theta(g_t | q, g_<t) [SGPO Eq. 4], as an index into C.

    `logprob_sums_C` are the sums of the correct guided trajectories under the prompt *without* the strategy, and
    `lengths_C` their lengths in tokens. "sum" is the paper's (it favours short ones); "mean" divides by the length;
    "random" draws uniformly from `generator` and looks at neither. Of equals the first is taken.

    Raises ValueError when there is no candidate, a sum is not finite, a length is below 1, `how` is unknown, or
    "random" comes without a generator.
    """
    if logprob_sums_C.dim() != 1 or logprob_sums_C.shape != lengths_C.shape or logprob_sums_C.numel() == 0:
        raise ValueError(
            f"log-probability sums have shape {tuple(logprob_sums_C.shape)} and lengths {tuple(lengths_C.shape)} "
            "(expected [C] both, with at least 1 correct guided trajectory)"
        )
    sums, lengths = logprob_sums_C.tolist(), lengths_C.tolist()
    if not bool(logprob_sums_C.isfinite().all()):
        raise ValueError(f"log-probability sums are not all finite: {sums}")
    if min(lengths) < 1:
        raise ValueError(f"lengths are {lengths} (expected at least 1 token each)")
    if how == "sum":
        scores = sums
    elif how == "mean":
        scores = [total / length for total, length in zip(sums, lengths, strict=True)]
    elif how == "random":
        if generator is None:
            raise ValueError("how is 'random' but there is no generator (expected a torch.Generator)")
        return int(torch.randint(len(sums), (), generator=generator, device=generator.device))
    else:
        raise ValueError(f"how is '{how}' (expected 'sum', 'mean' or 'random')")
    return max(range(len(scores)), key=scores.__getitem__)


def target_weights(
    logprob_sums: Sequence[float],
    lengths: Sequence[int],
    how: Literal["sum", "mean", "random", "all"] = "sum",
    seed: int = 0,
) -> list[float]:
    """Return each candidate's weight in the distillation loss, summing to 1.

    1 for the target that `select_target` chooses ("random" draws from `seed`); for "all" 1/|C| each: no selection, the
    mean over C (an ablation).
    """
    count = len(logprob_sums)
    if how == "all" and count:
        return [1.0 / count] * count
    if how == "all":
        raise ValueError("there is no candidate (expected at least 1 correct guided trajectory)")
    sums_C, lengths_C = torch.tensor(logprob_sums, dtype=torch.float64), torch.tensor(lengths)
    chosen = select_target(sums_C, lengths_C, how, torch.Generator().manual_seed(seed))
    return [float(index == chosen) for index in range(count)]
