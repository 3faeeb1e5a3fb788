"""The mathematics of SGPO [SGPO Eqs. 1-7] as pure functions on tensors; torch is all that is imported.

How one step of Algorithm 1 uses them:
`linear_token_logprobs` -> `group_advantages` -> `grpo_row_losses` (Eq. 1), `select_target` (Eq. 4),
`linear_forward_kl` -> `clipped_kd_loss` (Eqs. 3, 5), `adaptive_weight` (Eq. 6), `sgpo_loss` (Eq. 7).

Letters in tensor names: N tokens, D hidden, V vocabulary, C candidates (or tokens of a chunk), G group, P problems,
B rows (responses), T positions of a row.
"""

from sgpo.objectives.divergence import linear_forward_kl, linear_reverse_kl
from sgpo.objectives.grpo import group_advantages, grpo_loss, grpo_row_losses
from sgpo.objectives.kd import clipped_kd_loss
from sgpo.objectives.logprobs import linear_token_logprobs
from sgpo.objectives.mismatch import sampler_mismatch_kl
from sgpo.objectives.target import select_target
from sgpo.objectives.total import sgpo_loss
from sgpo.objectives.weight import adaptive_weight

__all__ = [
    "adaptive_weight",
    "clipped_kd_loss",
    "group_advantages",
    "grpo_loss",
    "grpo_row_losses",
    "linear_forward_kl",
    "linear_reverse_kl",
    "linear_token_logprobs",
    "sampler_mismatch_kl",
    "select_target",
    "sgpo_loss",
]
