"""Setting a training run up: model, engine, verifier, strategies; then Algorithm 1, then the exported model."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedTokenizerBase

from sgpo.config import EngineConfig, RunConfig, StorageConfig, dump_config
from sgpo.files import publish_file
from sgpo.problems import Problem, Verifier, read_problems
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.examination import check_attention
from sgpo.rollouts.export import export_model
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import local_folder, pad_id
from sgpo.training.agreement import BOUNDS, check_agreement, probes_of
from sgpo.training.best import take_best
from sgpo.training.checkpoints.stored_run import StoredRun
from sgpo.training.engines import open_engine
from sgpo.training.inputs import load_inputs
from sgpo.training.left_out import record_left_out, without_left_out
from sgpo.training.loop import Trainer
from sgpo.training.lora import adapter_tensors, export_adapter
from sgpo.training.policy import Policy
from sgpo.training.recovery.origin import check_origin, note_origin
from sgpo.training.recovery.session import MetricsSink
from sgpo.training.sharding import shard_policy, whole_weights
from sgpo.training.student import open_student
from sgpo.training.sync import SharedWeights
from sgpo.training.validation import validation_problems
from sgpo.training.warmup import notes_of, record_of, warm_up
from sgpo.training.warmup_rows import data_digest, number_held_out, response_of
from sgpo.training.world import World, open_world


def train(
    config: RunConfig,
    model_source: str | Path,
    run_folder: Path,
    metrics: AbstractContextManager[MetricsSink] | None = None,
    stored: StoredRun | None = None,
    restart: bool = False,
) -> Path:
    """Train on `config.data`/splits/train.parquet; returns the folder of the trained model, of the best validation.

    A run that was made of another model, other data or settings is refused, or with `restart` started again. Otherwise
    it resumes from the newest checkpoint in `run_folder`, or in `stored` when it has a newer one, and stores what comes
    of it there. Under torchrun every process calls this, and the first one may have `stored` and `metrics`, which are
    opened once nothing is left to refuse: of a run that its inputs forbid nothing is written or logged.
    """
    inputs = load_inputs(config)
    folder = local_folder(model_source)  # a download takes as long as it takes: no other process waits at a barrier
    with open_world() as world, ExitStack() as stack:
        inputs, left_out = without_left_out(config, inputs, folder)
        validated_on = validation_problems(config, inputs.problems, folder)
        to_warm_up = _warmup_problems(config, inputs.strategies, folder)
        origin = check_origin(config, folder, run_folder, restart) if world.is_main else None
        verifier = stack.enter_context(_verifier(config, [*inputs.problems, *validated_on]))
        if config.engine.kind == "transformers":
            check_attention(folder, AutoConfig.from_pretrained(str(folder)))
        torch.manual_seed(config.seed)
        student = None if to_warm_up else open_student(config, folder, model_source)
        logged = stack.enter_context(metrics) if metrics is not None and world.is_main else None
        if origin is not None:
            note_origin(origin, run_folder, stored)
            record_left_out(left_out, run_folder)
        _keep_configuration(config, run_folder, world)
        _fetch_checkpoint(config, stored, world)
        if student is None:
            model_source = folder = _warmed_up(config, to_warm_up, inputs.strategies, folder, run_folder, world)
            student = open_student(config, folder, model_source)
        policy, tokenizer, chat = student
        for note in chat.notes if world.is_main else ():
            print(f"{folder}: {note}", flush=True)
        policy = policy.to(world.device)
        sharded = shard_policy(policy, world, config.sharding)
        # An engine of its own samples while the policy is in pieces, recomputes activations, or is being trained.
        shared = not (sharded or config.sharding.activation_checkpointing or config.training.overlap)
        engine, sync = open_engine(config, policy, folder, chat, world, shared, run_folder, stack)
        if not isinstance(sync, SharedWeights):
            sync.push(0)
            check_agreement(
                engine, policy, chat, probes_of(inputs.problems, inputs.strategies), config.training.sampling,
                config.engine.mismatch_bound or BOUNDS[config.sharding.precision], world, pad_id(tokenizer),
            )  # fmt: skip
        experts = inputs.experts(chat)
        sampler = Sampler(engine, chat, verifier, inputs.strategies, config.seed, experts, inputs.contrasts)
        # A checkpoint belongs to its settings, but wherever it is stored and whatever samples.
        trainer = Trainer(
            config.model_copy(update={"storage": StorageConfig(), "engine": EngineConfig()}),
            policy, sampler, sync, world, logged, run_folder, pad_id(tokenizer),
            stored.checkpoint_published if stored else None, validated_on,
        )  # fmt: skip
        take_best(policy, run_folder, trainer.train(inputs.problems), world)
        _export(policy, tokenizer, chat, folder, run_folder, world)
        if stored is not None:
            stored.model_exported(run_folder / "model")
        world.barrier()
    return run_folder / "model"


def _verifier(config: RunConfig, problems: Sequence[Problem]) -> Verifier:
    settings = config.evaluation
    return Verifier(settings.verifier_timeout, settings.verifier_workers, config.domains, problems)


def _export(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat, folder: Path, run_folder: Path, world: World
) -> None:
    """Write the run's model, and its adapter where it has one; what `folder` notes of its warm-up goes along."""
    weights = whole_weights(policy)
    adapter = None if policy.base is None else adapter_tensors(policy.model)
    if not world.is_main:
        return
    if adapter is not None:
        export_adapter(policy.model, adapter, run_folder / "adapter")
    export_model(policy.model, tokenizer, weights, run_folder / "model", chat.end_ids, notes_of(folder))


def _warmup_problems(config: RunConfig, strategies: Mapping[str, str], folder: Path) -> list[Problem]:
    """Return the problems to warm up on, none where that is not asked for.

    Raises ConfigError where they are too few or one has no response, unless `folder` was warmed up on these very data.
    """
    if not config.warmup.epochs:
        return []
    problems = read_problems(config.data / "splits" / "warmup.parquet")
    if record_of(folder) != data_digest(problems, strategies, config.warmup):
        number_held_out(config.warmup, len(problems))
        for problem in problems:
            response_of(problem)
    return problems


def _warmed_up(
    config: RunConfig, problems: Sequence[Problem], strategies: Mapping[str, str], folder: Path, run_folder: Path,
    world: World,
) -> Path:  # fmt: skip
    """Return the folder of the warmed-up model: `folder` itself where it was warmed up on these very data."""
    before = record_of(folder)
    if before == data_digest(problems, strategies, config.warmup):
        if world.is_main:
            print(f"{folder}: warmed up on these {len(problems)} problems before, and not again", flush=True)
        return folder
    if before is not None and world.is_main:
        print(f"{folder}: warmed up on other data before, and now on {len(problems)} problems", flush=True)
    return warm_up(config, problems, folder, run_folder / "warmup", world, strategies)


def _fetch_checkpoint(config: RunConfig, stored: StoredRun | None, world: World) -> None:
    """Let the first process fetch what is stored of the run, while the others wait."""
    if config.storage.bucket is None:
        return
    fetched = world.separate_barrier(timedelta(hours=6))  # a large checkpoint takes longer than a collective may
    if stored is not None:
        stored.fetch_checkpoint()
    fetched()


def _keep_configuration(config: RunConfig, run_folder: Path, world: World) -> None:
    if world.is_main:
        with publish_file(run_folder / "config.yaml") as aside:
            aside.write_text(dump_config(config), encoding="utf-8")
    world.barrier()
