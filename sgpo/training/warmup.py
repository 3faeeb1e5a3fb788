"""SFT warm-up: supervised epochs on strong-model responses; the one with the lowest held-out loss starts RL.

docs/method.md section 8: a random tenth is held out. A small student needs to learn what a strategy is as well: a share
of the responses may follow the prompt with the strategy.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from sgpo.config import RunConfig, TrainingConfig, WarmupConfig
from sgpo.problems import Problem
from sgpo.progress import progress_bar
from sgpo.rollouts.export import export_model
from sgpo.rollouts.model_folder import load_model, open_chat, pad_id
from sgpo.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.recovery.interruption import Interruption, PreemptedError
from sgpo.training.recovery.session import StoppedError
from sgpo.training.sharding import shard_policy, whole_weights
from sgpo.training.supervised import supervised_gradient, supervised_loss
from sgpo.training.warmup_rows import data_digest, hold_out, make_contexts, rows_of_step, that_fit
from sgpo.training.world import World

RECORD = "sgpo_warmup.json"
"""In the folder of a model that was warmed up, or trained from one: the digest of the data, and the settings."""
SAVE_EVERY_S = 240.0
"""What a kill may cost: an epoch may take an hour."""


def warm_up(
    config: RunConfig,
    problems: Sequence[Problem],
    model_source: str | Path,
    folder: Path,
    world: World,
    strategies: Mapping[str, str] | None = None,
) -> Path:
    """Train from `model_source` and return the folder of the best epoch's model, `folder`/model.

    `strategies` are texts by problem id; `warmup.guided_fraction` of the rows have them in the prompt.

    Resumes from the last checkpoint, at most SAVE_EVERY_S old, or from where a signal ended it; a warm-up that is done
    is not repeated.
    Raises ConfigError when a problem has no response to learn from, or there are too few problems to hold some out,
    PromptTooLongError when some do not fit the model and are not to be left out (`training.leave_out_too_long`),
    PreemptedError after a signal, and StoppedError when steps in a row had a gradient that is not finite.
    """
    settings, tokens, strategies = config.warmup, config.training.tokens_per_microbatch, strategies or {}
    best, done = folder / "model", folder / "done"
    if done.is_file():
        return best
    model, tokenizer = load_model(model_source)
    chat = open_chat(model_source, tokenizer, config.chat)
    policy, pad = Policy(model).to(world.device), pad_id(tokenizer)
    shard_policy(policy, world, config.sharding)
    contexts = make_contexts(problems, strategies, chat, settings)
    contexts = that_fit(contexts, problems, model.config.max_position_embeddings, config, world)
    to_learn, held_out = hold_out(settings, contexts, config.seed)
    held_out_rows = [pair.row(0, settings.guided_fraction) for pair in held_out]
    notes = {RECORD: _record(problems, strategies, settings)}
    per_epoch = -(-len(to_learn) // settings.batch_size)
    schedule = _schedule(config, settings.epochs * per_epoch)
    optimizer = make_optimizer(policy, schedule)
    state = load_checkpoint(folder / "checkpoints", policy, (optimizer,)) or {
        "step": 0, "lowest": float("inf"), "skipped": 0,
    }  # fmt: skip
    due = _Timer(world)
    with (
        Interruption(config.training.grace_s) as interruption,
        progress_bar(schedule.steps, "warm-up", state["step"], "step") if world.is_main else nullcontext() as bar,
    ):
        for step in range(state["step"], schedule.steps):
            chosen = rows_of_step(to_learn, settings, config.seed, step)
            supervised_gradient(policy, world.shard(chosen), tokens, world, pad)
            _, taken = optimizer_step(policy, optimizer, learning_rate(schedule, step), schedule.max_grad_norm)
            state = {**state, "step": step + 1, "skipped": 0 if taken else state["skipped"] + 1}
            if state["skipped"] >= schedule.max_skipped_steps:
                raise StoppedError(f"warm-up: {state['skipped']} steps in a row had a gradient that is not finite")
            epoch, left = divmod(step + 1, per_epoch)
            if bar is not None:
                bar.update()
            if left == 0:
                loss = supervised_loss(policy, world.shard(held_out_rows), tokens, world, pad)
                weights = whole_weights(policy)
                if world.is_main:
                    print(f"warm-up epoch {epoch}/{settings.epochs}  held-out loss {loss:.4f}", flush=True)
                    if loss < state["lowest"]:
                        export_model(policy.model, tokenizer, weights, best, chat.end_ids, notes)
                state["lowest"] = min(state["lowest"], loss)
            asked = interruption.requested_of_any(world)
            if left == 0 or asked or due():  # the best model is there before the checkpoint that counts its epoch
                save_checkpoint(folder / "checkpoints", policy, (optimizer,), state, 1, world)
            if asked:
                raise PreemptedError(
                    f"preempted in warm-up epoch {step // per_epoch + 1}; the same command resumes from there"
                )
    if world.is_main:
        done.touch()
    world.barrier()
    return best


class _Timer:
    """Says on all processes alike when SAVE_EVERY_S have passed since it last did; the first one's clock counts."""

    def __init__(self, world: World) -> None:
        self._world, self._since = world, time.monotonic()

    def __call__(self) -> bool:
        passed = self._world.is_main and time.monotonic() - self._since > SAVE_EVERY_S
        due = self._world.sum({"due": float(passed)})["due"] > 0.0
        if due:
            self._since = time.monotonic()
        return due


def _record(problems: Sequence[Problem], strategies: Mapping[str, str], settings: WarmupConfig) -> str:
    digest = data_digest(problems, strategies, settings)
    return json.dumps({"data": digest, "problems": len(problems), "settings": settings.model_dump()}, indent=2)


def _schedule(config: RunConfig, steps: int) -> TrainingConfig:
    settings = config.warmup
    return TrainingConfig(
        steps=steps, learning_rate=settings.learning_rate, warmup_steps=round(settings.warmup_ratio * steps),
        fused_optimizer=config.training.fused_optimizer, max_skipped_steps=config.training.max_skipped_steps,
    )  # fmt: skip


def record_of(model_folder: Path) -> str | None:
    """Return the digest of the data that a model was warmed up on, or its ancestor; None where it was not."""
    try:
        return json.loads((model_folder / RECORD).read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def notes_of(model_folder: Path) -> dict[str, str]:
    """Return what a model trained from this one takes along of its warm-up, as `notes` of `export_model`."""
    file = model_folder / RECORD
    return {RECORD: file.read_text(encoding="utf-8").rstrip("\n")} if file.is_file() else {}
