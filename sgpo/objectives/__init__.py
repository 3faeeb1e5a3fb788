"""The mathematics of SGPO [SGPO Eqs. 1-7] as pure functions on tensors; imports only torch.

`group_advantages`, `grpo_token_losses` (Eq. 1); `select_target`, `target_weights` (Eq. 4); `clipped_kd_token_losses`
(Eq. 5); `adaptive_weight` (Eq. 6). Eq. 3, over the whole vocabulary, is in `sgpo.vocabulary` and can be imported from
here. The losses are per token: a token's weight, which includes 1/|o_i|, is applied by the caller.
sgpo/algorithms combines them into methods; docs/objectives.md goes through them equation by equation.

Letters in tensor names: N tokens, D hidden, V vocabulary, C candidates (or tokens of a chunk), G group, P problems.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# ruff: noqa: F401
if TYPE_CHECKING:  # what `__getattr__` hands out
    from sgpo.objectives.grpo import group_advantages, grpo_token_losses
    from sgpo.objectives.importance import truncated_importance
    from sgpo.objectives.kd import annealed_delta, clipped_kd_token_losses
    from sgpo.objectives.luffy import luffy_expert_token_losses
    from sgpo.objectives.mismatch import sampler_mismatch_kl
    from sgpo.objectives.normalization import Normalization, outer_denominator
    from sgpo.objectives.target import select_target, target_weights
    from sgpo.objectives.weight import adaptive_weight, group_advantage_weight
    from sgpo.vocabulary.divergence import linear_forward_kl, linear_reverse_kl
    from sgpo.vocabulary.fused import DivergenceLoss, LogprobLoss, linear_divergence_loss, linear_logprob_loss
    from sgpo.vocabulary.logprobs import linear_token_logprobs

_HOMES = {
    name: module
    for module, names in {
        "objectives.grpo": "group_advantages grpo_token_losses",
        "objectives.importance": "truncated_importance",
        "objectives.kd": "annealed_delta clipped_kd_token_losses",
        "objectives.luffy": "luffy_expert_token_losses",
        "objectives.mismatch": "sampler_mismatch_kl",
        "objectives.normalization": "Normalization outer_denominator",
        "objectives.target": "select_target target_weights",
        "objectives.weight": "adaptive_weight group_advantage_weight",
        "vocabulary.divergence": "linear_forward_kl linear_reverse_kl",
        "vocabulary.fused": "DivergenceLoss LogprobLoss linear_divergence_loss linear_logprob_loss",
        "vocabulary.logprobs": "linear_token_logprobs",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    """Import an equation when it is first used: settings and flows read sgpo/algorithms without torch [PEP 562]."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"sgpo.{_HOMES[name]}"), name)
