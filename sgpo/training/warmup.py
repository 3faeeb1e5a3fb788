"""SFT warm-up: supervised epochs on strong-model responses; the one with the lowest held-out loss starts RL.

docs/method.md section 8: a random tenth is held out.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from sgpo.algorithms.rows import Row
from sgpo.config import ConfigError, RunConfig, TrainingConfig, WarmupConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.export import export_model
from sgpo.rollouts.lengths import describe
from sgpo.rollouts.model_folder import load_model, open_chat, pad_id
from sgpo.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.recovery.interruption import Interruption, PreemptedError
from sgpo.training.recovery.session import StoppedError
from sgpo.training.sharding import shard_policy, whole_weights
from sgpo.training.supervised import supervised_gradient, supervised_loss
from sgpo.training.world import World


def warm_up(
    config: RunConfig, problems: Sequence[Problem], model_source: str | Path, folder: Path, world: World
) -> Path:
    """Train from `model_source` and return the folder of the best epoch's model, `folder`/model.

    Resumes from the last epoch that is done, or from where a signal ended it; a warm-up that is done is not repeated.
    Raises ConfigError when a problem has no response to learn from, or there are too few problems to hold some out,
    PromptTooLongError when some do not fit the model and are not to be left out (`training.leave_out_too_long`),
    PreemptedError after a signal, and StoppedError when steps in a row had a gradient that is not finite.
    """
    settings, tokens = config.warmup, config.training.tokens_per_microbatch
    best, done = folder / "model", folder / "done"
    if done.is_file():
        return best
    model, tokenizer = load_model(model_source)
    chat = open_chat(model_source, tokenizer, config.chat)
    policy, pad = Policy(model).to(world.device), pad_id(tokenizer)
    shard_policy(policy, world, config.sharding)
    rows = _that_fit(_rows(problems, chat), problems, model.config.max_position_embeddings, config, world)
    train_rows, held_out_rows = _split(settings, rows, config.seed)
    per_epoch = -(-len(train_rows) // settings.batch_size)
    schedule = _schedule(config, settings.epochs * per_epoch)
    optimizer = make_optimizer(policy, schedule)
    state = load_checkpoint(folder / "checkpoints", policy, (optimizer,)) or {
        "step": 0, "lowest": float("inf"), "skipped": 0,
    }  # fmt: skip
    with Interruption(config.training.grace_s) as interruption:
        for step in range(state["step"], schedule.steps):
            chosen = _rows_of_step(train_rows, settings.batch_size, config.seed, step)
            supervised_gradient(policy, world.shard(chosen), tokens, world, pad)
            _, taken = optimizer_step(policy, optimizer, learning_rate(schedule, step), schedule.max_grad_norm)
            state = {**state, "step": step + 1, "skipped": 0 if taken else state["skipped"] + 1}
            if state["skipped"] >= schedule.max_skipped_steps:
                raise StoppedError(f"warm-up: {state['skipped']} steps in a row had a gradient that is not finite")
            epoch, left = divmod(step + 1, per_epoch)
            if left == 0:
                loss = supervised_loss(policy, world.shard(held_out_rows), tokens, world, pad)
                weights = whole_weights(policy)
                if world.is_main:
                    print(f"warm-up epoch {epoch}/{settings.epochs}  held-out loss {loss:.4f}", flush=True)
                    if loss < state["lowest"]:
                        export_model(policy.model, tokenizer, weights, best, chat.end_ids)
                state["lowest"] = min(state["lowest"], loss)
            asked = interruption.requested_of_any(world)
            if left == 0 or asked:  # the best model is there before the checkpoint that counts its epoch as done
                save_checkpoint(folder / "checkpoints", policy, (optimizer,), state, 1, world)
            if asked:
                raise PreemptedError(
                    f"preempted in warm-up epoch {step // per_epoch + 1}; the same command resumes from there"
                )
    if world.is_main:
        done.touch()
    world.barrier()
    return best


def _rows_of_step(rows: list[Row], batch_size: int, seed: int, step: int) -> list[Row]:
    """Return the batch of step 0, 1, …: every epoch is a new permutation, and its last batch may be smaller."""
    epoch, batch = divmod(step, -(-len(rows) // batch_size))
    order = list(range(len(rows)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return [rows[index] for index in order[batch * batch_size :][:batch_size]]


def _schedule(config: RunConfig, steps: int) -> TrainingConfig:
    settings = config.warmup
    return TrainingConfig(
        steps=steps, learning_rate=settings.learning_rate, warmup_steps=round(settings.warmup_ratio * steps),
        fused_optimizer=config.training.fused_optimizer, max_skipped_steps=config.training.max_skipped_steps,
    )  # fmt: skip


def _rows(problems: Sequence[Problem], chat: ChatFormat) -> list[Row]:
    rows = []
    for key, problem in enumerate(problems):
        if not problem.response:
            raise ConfigError(f"warm-up problem '{problem.id}' has no response (expected a strong model's response)")
        rows.append(Row(tuple(chat.autonomous(problem.question)), chat.response_ids(problem.response), key))
    return rows


def _that_fit(
    rows: list[Row], problems: Sequence[Problem], positions: int, config: RunConfig, world: World
) -> list[Row]:
    """Return the rows that the model has positions for; the others are refused by id, or left out and said."""
    found = {problems[row.index].id: len(row) for row in rows if len(row) > positions}
    if found and not config.training.leave_out_too_long:
        raise PromptTooLongError(
            f"warm-up: {describe(found, len(problems), positions)} "
            "(expected shorter ones, or training.leave_out_too_long=true)"
        )
    if found and world.is_main:
        print(f"warm-up leaves out {describe(found, len(problems), positions)}", flush=True)
    return [row for row in rows if len(row) <= positions]


def _split(settings: WarmupConfig, rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    held_out = round(settings.held_out_fraction * len(rows))
    if not 0 < held_out < len(rows):
        raise ConfigError(
            f"warm-up has {len(rows)} problems and holds out {settings.held_out_fraction:.0%} of them "
            "(expected at least one held out and one to train on; see splits.warmup_fraction in params.yaml)"
        )
    shuffled = random.Random(f"warm-up/{seed}").sample(rows, len(rows))
    return shuffled[held_out:], shuffled[:held_out]
