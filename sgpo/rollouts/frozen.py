"""A model that is sampled from and not trained: evaluation and the probe, on whatever engine is chosen."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from sgpo.config import ChatConfig, EngineConfig
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.examination import check_attention
from sgpo.rollouts.model_folder import INDEX, load_model, local_folder, open_chat, open_ending_tokenizer
from sgpo.rollouts.transformers_engine import TransformersEngine


@contextmanager
def open_frozen(
    source: str | Path,
    settings: EngineConfig,
    precision: str,
    batch_size: int,
    work: Path,
    chat_settings: ChatConfig | None = None,
) -> Iterator[tuple[RolloutEngine, ChatFormat]]:
    """Yield an engine with the weights of a model folder or hub id, on the GPU where there is one, and its chat format.

    `precision` is float32 or bfloat16; `work` gets the servers' logs, and the weights for servers given by URL.
    Raises ModelFolderError for a model that cannot be opened, EngineError for an engine that cannot.
    """
    folder = local_folder(source)
    if settings.kind == "transformers":
        model, tokenizer = load_model(folder)
        check_attention(source, model.config)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.to(device, dtype=getattr(torch, precision))  # pyright: ignore[reportArgumentType]
        chat = open_chat(folder, tokenizer, chat_settings)
        yield TransformersEngine(model, chat), chat
        return
    config, tokenizer = AutoConfig.from_pretrained(str(folder)), open_ending_tokenizer(folder, source)
    chat = open_chat(folder, tokenizer, chat_settings)
    with ExitStack() as stack:  # whatever fails, what was started ends
        if settings.kind == "vllm":
            from sgpo.rollouts.vllm.engine import VllmEngine

            colocated = VllmEngine(folder, config, chat, settings, precision, batch_size)
            stack.callback(colocated.close)
            yield colocated, chat
            return
        from sgpo.rollouts.vllm.process import start_servers
        from sgpo.rollouts.vllm.server import VllmServerEngine

        started = []
        if not settings.urls:
            started = start_servers(folder, settings, precision, config.max_position_embeddings, work / "servers")
            for server in started:
                stack.callback(server.stop)
        urls = settings.urls or [server.url for server in started]
        engine = VllmServerEngine(urls, config, chat, (work / "weights").resolve(), settings)
        stack.callback(engine.close)
        if settings.urls:  # they were started on some other model of this shape
            engine.load_weights(_weights(folder))
        yield engine, chat


def _weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of the model that a folder holds, one at a time.

    Its index says which they are, or else they are those of model.safetensors: a repository may have a second copy of
    them under other names. Without either, all.
    """
    index, whole = folder / INDEX, folder / "model.safetensors"
    files: dict[Path, list[str]] = {}  # and which of their tensors; none: all
    if index.is_file():
        for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            files.setdefault(folder / file, []).append(name)
    else:
        files = {file: [] for file in ([whole] if whole.is_file() else sorted(folder.glob("*.safetensors")))}
    for file, wanted in files.items():
        with safe_open(file, framework="pt") as tensors:
            for name in wanted or tensors.keys():
                yield name, tensors.get_tensor(name)
