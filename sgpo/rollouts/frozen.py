"""A model that is sampled from and not trained: evaluation and the probe, on whatever engine is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedTokenizerBase

from sgpo.config import EngineConfig
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.model_folder import load_model, local_folder, open_tokenizer
from sgpo.rollouts.transformers_engine import TransformersEngine


@contextmanager
def open_frozen(
    source: str | Path, settings: EngineConfig, precision: str, batch_size: int, work: Path
) -> Iterator[tuple[RolloutEngine, PreTrainedTokenizerBase]]:
    """An engine of `settings.kind` with the weights of a model folder or hub id, on the GPU where there is one.

    `precision` is float32 or bfloat16; `work` gets the servers' logs, and the weights for servers given by URL.
    Raises ModelFolderError for a model that cannot be opened, EngineError for an engine that cannot.
    """
    folder = local_folder(source)
    if settings.kind == "transformers":
        model, tokenizer = load_model(folder)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.to(device, dtype=getattr(torch, precision))  # pyright: ignore[reportArgumentType]
        yield TransformersEngine(model, tokenizer), tokenizer
        return
    config, tokenizer = AutoConfig.from_pretrained(str(folder)), open_tokenizer(folder)
    if settings.kind == "vllm":
        from sgpo.rollouts.vllm_engine import VllmEngine

        colocated = VllmEngine(folder, config, tokenizer, settings, precision, batch_size)
        try:
            yield colocated, tokenizer
        finally:
            colocated.close()
        return
    from sgpo.rollouts.vllm_process import start_servers
    from sgpo.rollouts.vllm_server import VllmServerEngine

    started = []
    if not settings.urls:
        started = start_servers(folder, settings, precision, config.max_position_embeddings, work / "servers")
    urls = settings.urls or [server.url for server in started]
    engine = VllmServerEngine(urls, config, tokenizer, (work / "weights").resolve(), settings)
    try:
        if settings.urls:  # they were started on some other model of this shape
            engine.load_weights(_weights(folder))
        yield engine, tokenizer
    finally:
        engine.close()
        for server in started:
            server.stop()


def _weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a folder's safetensors files, one at a time."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                yield name, tensors.get_tensor(name)
