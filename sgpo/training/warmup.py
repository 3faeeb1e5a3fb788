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
    if not (folder / "done").is_file():
        warming = _WarmUp(config, problems, strategies or {}, model_source, folder, world)
        with (
            Interruption(config.training.grace_s) as interruption,
            progress_bar(warming.steps, "warm-up", warming.state["step"], "step")
            if world.is_main
            else nullcontext() as bar,
        ):
            for step in range(warming.state["step"], warming.steps):
                warming.take(step)
                if bar is not None:
                    bar.update()
                epoch, left = divmod(step + 1, warming.steps_per_epoch)
                if left == 0:
                    warming.measure(epoch)
                asked = interruption.requested_of_any(world)
                if left == 0 or asked or warming.due():  # the best model is there before the checkpoint that counts it
                    warming.save()
                if asked:
                    begun = step // warming.steps_per_epoch + 1
                    raise PreemptedError(f"preempted in warm-up epoch {begun}; the same command resumes from there")
        if world.is_main:
            (folder / "done").touch()
        world.barrier()
    return folder / "model"


class _WarmUp:
    """The policy in warm-up, its optimizer, its rows, and how far it is, from the newest checkpoint on."""

    def __init__(
        self, config: RunConfig, problems: Sequence[Problem], strategies: Mapping[str, str], model_source: str | Path,
        folder: Path, world: World,
    ) -> None:  # fmt: skip
        self._config, self._folder, self._world = config, folder, world
        model, self._tokenizer = load_model(model_source)
        self._chat = open_chat(model_source, self._tokenizer, config.chat)
        self._policy, self._pad = Policy(model).to(world.device), pad_id(self._tokenizer)
        shard_policy(self._policy, world, config.sharding)
        contexts = make_contexts(problems, strategies, self._chat, config.warmup)
        contexts = that_fit(contexts, problems, model.config.max_position_embeddings, config, world)
        self._to_learn, held_out = hold_out(config.warmup, contexts, config.seed)
        self._held_out_rows = [pair.row(0, config.warmup.guided_fraction) for pair in held_out]
        self._notes = {RECORD: _record(problems, strategies, config.warmup)}
        self.steps_per_epoch = -(-len(self._to_learn) // config.warmup.batch_size)
        self.steps = config.warmup.epochs * self.steps_per_epoch
        self._schedule = _schedule(config, self.steps)
        self._optimizer = make_optimizer(self._policy, self._schedule)
        started = {"step": 0, "lowest": float("inf"), "skipped": 0}
        self.state = load_checkpoint(folder / "checkpoints", self._policy, (self._optimizer,)) or started
        self.due = _Timer(world)

    def take(self, step: int) -> None:
        """Take one optimizer step; raises StoppedError when steps in a row had a gradient that is not finite."""
        chosen = rows_of_step(self._to_learn, self._config.warmup, self._config.seed, step)
        tokens = self._config.training.tokens_per_microbatch
        supervised_gradient(self._policy, self._world.shard(chosen), tokens, self._world, self._pad)
        rate = learning_rate(self._schedule, step)
        _, taken = optimizer_step(self._policy, self._optimizer, rate, self._schedule.max_grad_norm)
        skipped = 0 if taken else self.state["skipped"] + 1
        self.state = {**self.state, "step": step + 1, "skipped": skipped}
        if skipped >= self._schedule.max_skipped_steps:
            raise StoppedError(f"warm-up: {skipped} steps in a row had a gradient that is not finite")

    def measure(self, epoch: int) -> None:
        """Compute the loss on the responses that were held out, and export the model where it is the lowest so far."""
        tokens = self._config.training.tokens_per_microbatch
        rows = self._world.shard(self._held_out_rows)
        loss = supervised_loss(self._policy, rows, tokens, self._world, self._pad)
        weights = whole_weights(self._policy)
        if self._world.is_main:
            print(f"warm-up epoch {epoch}/{self._config.warmup.epochs}  held-out loss {loss:.4f}", flush=True)
            if loss < self.state["lowest"]:
                best = self._folder / "model"
                export_model(self._policy.model, self._tokenizer, weights, best, self._chat.end_ids, self._notes)
        self.state["lowest"] = min(self.state["lowest"], loss)

    def save(self) -> None:
        """Write a checkpoint, in the place of the one before."""
        save_checkpoint(self._folder / "checkpoints", self._policy, (self._optimizer,), self.state, 1, self._world)


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
