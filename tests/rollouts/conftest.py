"""Engines that several test files share: starting one takes up to a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed_models import needs_vllm, write_model

from sgpo.config import EngineConfig
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine

START_S = 400.0


@pytest.fixture(scope="session")
def old_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that engines are started with."""
    return write_model(0, tmp_path_factory.mktemp("old") / "model")


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    return write_model(1, tmp_path_factory.mktemp("new") / "model")


@pytest.fixture(scope="session")
def servers(old_folder: Path, new_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list]:
    """Two vLLM servers: one started with the old model, one with the new one."""
    import torch

    from sgpo.rollouts.vllm.process import ServerProcess, free_port, server_command

    logs, started, settings = tmp_path_factory.mktemp("logs"), [], EngineConfig(kind="vllm-server")
    try:
        for number, folder in enumerate((old_folder, new_folder)):
            port = free_port()
            command = server_command(str(folder), port, settings, "float32", 512, torch.cuda.is_available())
            url = f"http://127.0.0.1:{port}"
            started.append(ServerProcess(command, url, logs / f"{number}.log", torch.cuda.is_available()))
        for server in started:
            server.wait_until_healthy(time.monotonic() + START_S)
        yield started
    finally:
        for server in started:
            server.stop()


@pytest.fixture(scope="session")
def in_process(old_folder: Path) -> Iterator:
    """vLLM in this process, started with the old model."""
    from sgpo.rollouts.vllm.engine import VllmEngine

    model, tokenizer = load_model(old_folder)
    engine = VllmEngine(old_folder, model.config, tokenizer)
    yield engine
    engine.close()


@pytest.fixture(
    scope="session",
    params=["transformers", pytest.param("vllm", marks=needs_vllm), pytest.param("vllm-server", marks=needs_vllm)],
)
def engine(request: pytest.FixtureRequest, old_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """One engine of each kind, started with the old model; a test that loads weights restores them."""
    model, tokenizer = load_model(old_folder)
    if request.param == "transformers":
        yield TransformersEngine(model, tokenizer)
    elif request.param == "vllm":
        yield request.getfixturevalue("in_process")
    else:
        from sgpo.rollouts.vllm.server import VllmServerEngine

        first, _ = request.getfixturevalue("servers")
        weights = tmp_path_factory.mktemp("weights")
        server = VllmServerEngine([first.url], model.config, tokenizer, weights)
        yield server
        server.close()
