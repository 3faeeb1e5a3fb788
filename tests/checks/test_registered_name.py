"""A registered name is of one model: its champion's tokenizer is the model's, in whatever bytes each is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sgpo.checks.servers import check_servers
from sgpo.config import RunConfig
from sgpo.registry.models import register_base_model
from sgpo.registry.promotion import set_champion
from tests.rollouts.quirky_models import CHATML, LLAMA, byte_tokenizer, model_folder, qwen_folder

pytestmark = pytest.mark.slow


def test_a_tokenizer_that_was_written_anew_is_no_other_model(
    recipe: Callable[..., RunConfig], tmp_path: Path, mlflow_database: Path
) -> None:
    artifacts = mlflow_database.parent / "artifacts"
    config = recipe(f"tracking.mlflow_uri='sqlite:///{mlflow_database}'", f"tracking.artifact_root='{artifacts}'")
    champion = qwen_folder(tmp_path / "champion")
    version = register_base_model(config.tracking, champion, "a model")
    set_champion(config.tracking, version, who="a test", why="It begins.")

    same = qwen_folder(tmp_path / "same")  # as hub files are, beside what transformers saves after a training
    whole = json.loads((same / "tokenizer.json").read_text(encoding="utf-8"))
    (same / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    assert (same / "tokenizer.json").read_bytes() != (champion / "tokenizer.json").read_bytes()
    other = model_folder(tmp_path / "other", byte_tokenizer(LLAMA, CHATML, "<|im_end|>"))
    for folder, expected in ((champion, "ok"), (same, "ok"), (other, "wrong")):
        found = {one.what: one.verdict for one in check_servers(config, folder)}
        assert found["registered name"] == expected, folder
