"""Where a model is opened from: folders, and the cache of the hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.model_folder import ModelFolderError, load_model, local_folder

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
        with open_frozen(old_folder, EngineConfig(), precision, 8, tmp_path) as (engine, tokenizer):
            (response,) = engine.generate([[9, 10, 11]], greedy, [0])
            logprobs[precision] = response.logprobs[0]
            assert tokenizer.chat_template
    with torch.no_grad():
        logits = load_model(old_folder)[0](input_ids=torch.tensor([[9, 10, 11]])).logits[0, -1]
    exact = float(logits.double().log_softmax(-1).max())
    assert logprobs["float32"] == pytest.approx(exact, abs=1e-4)
    assert logprobs["float32"] != logprobs["bfloat16"] == pytest.approx(exact, abs=0.2)
