"""Where a model is opened from: folders, and the cache of the hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from loopback_server import LoopbackServer
from safetensors.torch import load_file, save_file

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts import model_folder
from sgpo.rollouts.export import export_model
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.model_folder import ModelFolderError, load_model, local_folder
from sgpo.rollouts.vllm import process as vllm_process
from sgpo.rollouts.vllm import server as vllm_server

pytestmark = pytest.mark.slow

OPEN = """
import json, sys
from sgpo.rollouts.model_folder import load_model, local_folder
model, tokenizer = load_model("an-owner/a-model")
print(json.dumps([str(local_folder("an-owner/a-model")), model.config.model_type, len(tokenizer)]))
"""


def cached_on_the_hub(model: Path, home: Path) -> Path:
    """The folder in Hugging Face's cache, as a download of an-owner/a-model leaves it."""
    repository, revision = home / "hub" / "models--an-owner--a-model", "0" * 40
    shutil.copytree(model, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def test_a_hub_id_is_opened_from_the_cache_without_a_network(old_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snapshot = cached_on_the_hub(old_folder, tmp_path)
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, check=True)
    folder, family, size = json.loads(done.stdout.splitlines()[-1])
    assert (Path(folder), family) == (snapshot, "qwen2")
    assert size == len(load_model(old_folder)[1])


def test_a_model_is_saved_with_the_same_bytes_with_and_without_a_hub(old_folder: Path, tmp_path: Path, monkeypatch):
    written = {}
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        model, tokenizer = load_model(old_folder)
        export_model(model, tokenizer, model.state_dict(), tmp_path / str(offline))
        written[offline] = {file.name: file.read_bytes() for file in (tmp_path / str(offline)).iterdir()}
    assert written[False] == written[True]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("runs/none/model", "no such model folder"),
        ("./none", "no such model folder"),
        ("an-owner/none", "no model that the hub gives"),
        ("three/parts/long", "no model that the hub gives"),
    ],
)
def test_what_is_no_model_is_one_line(source: str, message: str, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFolderError, match=message) as caught:
        local_folder(source)
    assert "\n" not in str(caught.value)


def test_a_frozen_model_is_sampled_in_the_precision_asked_for(old_folder: Path, tmp_path: Path) -> None:
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=4)
    logprobs = {}
    for precision in ("float32", "bfloat16"):
        with open_frozen(old_folder, EngineConfig(), precision, 8, tmp_path) as (engine, chat):
            (response,) = engine.generate([[9, 10, 11]], greedy, [0])
            logprobs[precision] = response.logprobs[0]
            assert chat.tokenizer.chat_template
    with torch.no_grad():
        logits = load_model(old_folder)[0](input_ids=torch.tensor([[9, 10, 11]])).logits[0, -1]
    exact = float(logits.double().log_softmax(-1).max())
    assert logprobs["float32"] == pytest.approx(exact, abs=1e-4)
    assert logprobs["float32"] != logprobs["bfloat16"] == pytest.approx(exact, abs=0.2)


def copy_without_end_token(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def published(folder: Path, work: Path) -> dict[str, torch.Tensor]:
    """What a running server is given of a model folder."""
    server = LoopbackServer()
    try:
        with open_frozen(folder, EngineConfig(kind="vllm-server", urls=(server.url,)), "float32", 8, work):
            (loaded,) = server.loaded
            return {name: value for file in Path(loaded).iterdir() for name, value in load_file(file).items()}
    finally:
        server.stop()


@pytest.mark.parametrize("indexed", [False, True])
def test_a_second_copy_of_the_weights_is_not_given_to_servers(old_folder: Path, tmp_path: Path, indexed: bool) -> None:
    folder = shutil.copytree(old_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({"tok_embeddings.weight": torch.zeros(2, 2)}, folder / "consolidated.safetensors")
    if indexed:
        (folder / "model.safetensors").unlink()
        names = sorted(weights)
        files = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, members in files.items():
            save_file({name: weights[name] for name in members}, folder / file)
        save_file({"left.over": torch.zeros(2)}, folder / "model-3.safetensors")
        index = {"weight_map": {name: file for file, members in files.items() for name in members}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    given = published(folder, tmp_path / "work")
    assert weights.keys() <= given.keys()
    assert given.keys() - weights.keys() <= {"lm_head.weight"}  # the tied projection
    assert all(torch.equal(given[name], value) for name, value in weights.items())


def test_weights_under_any_names_are_taken_where_nothing_says_which(old_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(old_folder, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert load_file(old_folder / "model.safetensors").keys() <= published(folder, tmp_path / "work").keys()


def test_a_file_that_the_index_names_and_that_is_missing_is_one_line(old_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(old_folder, tmp_path / "model")
    index = {"weight_map": {"model.embed_tokens.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match=r"no model-1\.safetensors \(expected what .*index\.json names\)$"):
        published(folder, tmp_path / "work")


def test_a_hub_s_second_copy_of_the_weights_is_not_fetched(old_folder: Path, monkeypatch) -> None:
    fetched: list[str] = []

    def download(name: str, allow_patterns: list[str], ignore_patterns: list[str], local_files_only: bool) -> str:
        files = [
            "config.json",
            "model-1.safetensors",
            "consolidated.safetensors",
            "consolidated.safetensors.index.json",
        ]
        files += ["model.safetensors.index.json", "original/consolidated.00.pth", "pytorch_model.bin"]
        fetched.extend(filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        return str(old_folder)

    monkeypatch.setattr(model_folder, "snapshot_download", download)
    local_folder("an-owner/a-model")
    assert fetched == ["config.json", "model-1.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize("kind", ["transformers", "vllm", "vllm-server"])
def test_a_tokenizer_without_end_token_is_refused_before_anything_is_started(
    kind: str, old_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    def start(*arguments: object) -> list:
        raise AssertionError("servers were started")

    monkeypatch.setattr(vllm_process, "start_servers", start)
    folder = copy_without_end_token(old_folder, tmp_path / "model")
    with (
        pytest.raises(ModelFolderError, match=r"the tokenizer has no end token \(expected eos_token"),
        open_frozen(folder, EngineConfig(kind=kind), "float32", 8, tmp_path),
    ):
        pass


@pytest.mark.parametrize("inside", [False, True])
def test_started_servers_end_whatever_fails_after_them(
    inside: bool, old_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    class Server:
        url, stopped = "http://127.0.0.1:9", False

        def stop(self) -> None:
            self.stopped = True

    class Broken:
        def __init__(self, *arguments: object) -> None:
            raise ValueError("no engine")

    servers = [Server(), Server()]
    monkeypatch.setattr(vllm_process, "start_servers", lambda *arguments: servers)
    if not inside:
        monkeypatch.setattr(vllm_server, "VllmServerEngine", Broken)
    with (
        pytest.raises(ValueError, match=r"no engine|no rollouts"),
        open_frozen(old_folder, EngineConfig(kind="vllm-server"), "float32", 8, tmp_path),
    ):
        raise ValueError("no rollouts")
    assert [server.stopped for server in servers] == [True, True]
