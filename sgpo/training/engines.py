"""The engine of a training run, by its settings, and how weights come to it."""

import json
from contextlib import ExitStack
from pathlib import Path

import torch

from sgpo.config import RunConfig
from sgpo.files import write_json
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.policy import Policy
from sgpo.training.sync import GatheredWeights, PublishedWeights, SharedWeights, WeightSync
from sgpo.training.world import World


def open_engine(
    config: RunConfig,
    policy: Policy,
    source: str | Path,
    chat: ChatFormat,
    world: World,
    shared: bool,
    run_folder: Path,
    stack: ExitStack,
) -> tuple[RolloutEngine, WeightSync]:
    """Return the engine of `config.engine`, open until `stack` closes; `shared`: the trainer's module may sample.

    Raises EngineError when it cannot be opened.
    """
    settings, precision = config.engine, config.sharding.precision
    if settings.kind == "vllm":
        from sgpo.rollouts.vllm.engine import VllmEngine

        colocated = VllmEngine(
            source, policy.model.config, chat, settings, precision, config.training.sampling.batch_size
        )
        stack.callback(colocated.close)
        return colocated, GatheredWeights(policy, colocated)
    if settings.kind == "vllm-server":
        return _open_servers(config, policy, source, chat, world, run_folder, stack)
    if shared:
        engine = TransformersEngine(policy.model, chat)
        return engine, SharedWeights(engine)
    replica, _ = load_model(source)
    replica.to(world.device, dtype=getattr(torch, precision))  # pyright: ignore[reportArgumentType]
    engine = TransformersEngine(replica, chat)
    return engine, GatheredWeights(policy, engine)


def _open_servers(
    config: RunConfig, policy: Policy, source: str | Path, chat: ChatFormat, world: World,
    run_folder: Path, stack: ExitStack,
) -> tuple[RolloutEngine, WeightSync]:  # fmt: skip
    """Servers by URL, or started by the first process, whose addresses the others read from a file."""
    from sgpo.rollouts.vllm.process import start_servers
    from sgpo.rollouts.vllm.server import VllmServerEngine

    settings, addresses = config.engine, run_folder / "servers" / "urls.json"
    urls = settings.urls
    if not urls:
        if world.is_main:
            positions = policy.model.config.max_position_embeddings
            servers = start_servers(source, settings, config.sharding.precision, positions, addresses.parent)
            for server in servers:
                stack.callback(server.stop)
            write_json(addresses, [server.url for server in servers])
        world.barrier()
        urls = tuple(json.loads(addresses.read_text(encoding="utf-8")))
    engine = VllmServerEngine(
        urls, policy.model.config, chat, (run_folder / "weights").resolve(), settings, world.is_main
    )
    stack.callback(engine.close)
    return engine, PublishedWeights(policy, engine, world)
