"""AdamW, the learning-rate schedule, and the guarded optimiser step."""

import math

import torch
import torch.distributed.tensor
from torch import nn

from sgpo.config import TrainingConfig
from sgpo.training.checkpoints.sharded_state import to_shards


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over all parameters that are trained; weight decay spares vectors (norms and biases)."""
    to_shards(module)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=config.fused_optimizer or None)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of step 0, 1, …: a function of the step alone, so that resuming needs no state."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.schedule == "linear":
        return config.learning_rate * (1.0 - done)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
    return config.learning_rate


def optimizer_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, rate: float, max_norm: float, skip_norm: float | None = None
) -> tuple[float, bool]:
    """Clip, step, and clear the gradient; returns the norm before clipping, and whether the step was taken.

    A gradient that is not finite, or whose norm exceeds `skip_norm`, is dropped whole: weights and moments stay.
    """
    norm = nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    if isinstance(norm, torch.distributed.tensor.DTensor):
        norm = norm.full_tensor()
    value = float(norm)
    taken = math.isfinite(value) and (skip_norm is None or value <= skip_norm)
    if taken:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value, taken
