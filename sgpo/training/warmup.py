"""SFT warm-up: supervised epochs on strong-model responses; the one with the lowest held-out loss starts RL.

METHOD.md section 8: a random tenth is held out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from sgpo.config import ConfigError, TrainingConfig, WarmupConfig
from sgpo.problems import Problem
from sgpo.rollouts.model_folder import end_id, export_model, load_model, pad_id
from sgpo.rollouts.prompts import PromptBuilder
from sgpo.training.batches import Row
from sgpo.training.checkpoint import load_checkpoint, save_checkpoint
from sgpo.training.distributed import World, shard_policy, whole_weights
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.supervised import supervised_gradient, supervised_loss


def warm_up(
    settings: WarmupConfig,
    tokens_per_microbatch: int,
    problems: Sequence[Problem],
    model_source: str | Path,
    folder: Path,
    seed: int,
    world: World,
) -> Path:
    """Train from `model_source` and return the folder of the best epoch's model, `folder`/model.

    Goes on from the last epoch that is done; a warm-up that is done is not repeated. Raises ConfigError when a problem
    has no response to learn from, or there are too few problems to hold some out.
    """
    best, done = folder / "model", folder / "done"
    if done.is_file():
        return best
    model, tokenizer = load_model(model_source)
    policy = Policy(model).to(world.device)
    shard_policy(policy, world)
    train_rows, held_out_rows = _split(settings, _rows(problems, tokenizer), seed)
    per_epoch = -(-len(train_rows) // settings.batch_size)
    steps = settings.epochs * per_epoch
    schedule = TrainingConfig(
        steps=steps, learning_rate=settings.learning_rate, warmup_steps=round(settings.warmup_ratio * steps)
    )
    optimizer = make_optimizer(policy, schedule)
    state = load_checkpoint(folder / "checkpoints", policy, (optimizer,)) or {"step": 0, "lowest": float("inf")}
    lowest = state["lowest"]
    for epoch in range(state["step"], settings.epochs):
        order = list(range(len(train_rows)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        for batch in range(per_epoch):
            chosen = [train_rows[index] for index in order[batch * settings.batch_size :][: settings.batch_size]]
            supervised_gradient(policy, world.share(chosen), tokens_per_microbatch, world, pad_id(tokenizer))
            optimizer_step(
                policy, optimizer, learning_rate(schedule, epoch * per_epoch + batch), schedule.max_grad_norm
            )
        loss = supervised_loss(policy, world.share(held_out_rows), tokens_per_microbatch, world, pad_id(tokenizer))
        weights = whole_weights(policy)
        if world.is_main:
            print(f"warm-up epoch {epoch + 1}/{settings.epochs}  held-out loss {loss:.4f}", flush=True)
            if loss < lowest:
                export_model(policy.model, tokenizer, weights, best)
        lowest = min(lowest, loss)
        # The best model is there before the checkpoint that counts its epoch as done.
        save_checkpoint(folder / "checkpoints", policy, (optimizer,), {"step": epoch + 1, "lowest": lowest}, 1, world)
    if world.is_main:
        done.touch()
    world.barrier()
    return best


def _rows(problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    prompts = PromptBuilder(tokenizer)
    rows = []
    for key, problem in enumerate(problems):
        if not problem.response:
            raise ConfigError(f"warm-up problem '{problem.id}' has no response (expected a strong model's response)")
        response = tokenizer(problem.response, add_special_tokens=False)["input_ids"]
        rows.append(Row(tuple(prompts.autonomous(problem.question)), (*response, end_id(tokenizer)), key))  # type: ignore[arg-type]
    return rows


def _split(settings: WarmupConfig, rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    held_out = round(settings.held_out_fraction * len(rows))
    if not 0 < held_out < len(rows):
        raise ConfigError(
            f"warm-up has {len(rows)} problems and holds out {settings.held_out_fraction:.0%} of them "
            "(expected at least one held out and one to train on; see splits.warmup_fraction in params.yaml)"
        )
    shuffled = random.Random(f"warm-up/{seed}").sample(rows, len(rows))
    return shuffled[held_out:], shuffled[:held_out]
