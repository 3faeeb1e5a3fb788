"""The mathematics of SGPO [SGPO Eqs. 1-7] as pure functions on tensors; torch is all that is imported.

How one step of Algorithm 1 uses them:
`group_advantages` -> `linear_logprob_loss` of `grpo_row_losses` (Eq. 1); `linear_token_logprobs` -> `target_shares`
(Eq. 4); `linear_divergence_loss` of `clipped_kd_loss` (Eqs. 3, 5); `adaptive_weight` (Eq. 6); `sgpo_loss` (Eq. 7).
docs/objectives.md goes through them equation by equation.

Letters in tensor names: N tokens, D hidden, V vocabulary, C candidates (or tokens of a chunk), G group, P problems,
B rows (responses), T positions of a row.
"""

from sgpo.objectives.grpo import Normalization, group_advantages, grpo_loss, grpo_row_losses, outer_denominator
from sgpo.objectives.importance import truncated_importance
from sgpo.objectives.kd import annealed_delta, clipped_kd_loss
from sgpo.objectives.luffy import luffy_expert_row_losses
from sgpo.objectives.mismatch import sampler_mismatch_kl
from sgpo.objectives.supervised import supervised_row_losses
from sgpo.objectives.target import select_target, target_shares
from sgpo.objectives.total import sgpo_loss
from sgpo.objectives.weight import adaptive_weight, group_advantage_weight
from sgpo.vocabulary.divergence import linear_forward_kl, linear_reverse_kl
from sgpo.vocabulary.fused import DivergenceLoss, LogprobLoss, linear_divergence_loss, linear_logprob_loss
from sgpo.vocabulary.logprobs import linear_token_logprobs

__all__ = [
    "DivergenceLoss",
    "LogprobLoss",
    "Normalization",
    "adaptive_weight",
    "annealed_delta",
    "clipped_kd_loss",
    "group_advantage_weight",
    "group_advantages",
    "grpo_loss",
    "grpo_row_losses",
    "linear_divergence_loss",
    "linear_forward_kl",
    "linear_logprob_loss",
    "linear_reverse_kl",
    "linear_token_logprobs",
    "luffy_expert_row_losses",
    "outer_denominator",
    "sampler_mismatch_kl",
    "select_target",
    "sgpo_loss",
    "supervised_row_losses",
    "target_shares",
    "truncated_importance",
]
