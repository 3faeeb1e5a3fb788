"""A registered model of its own for every test, all in one database."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sgpo.config import TrackingConfig


@pytest.fixture
def tracking(mlflow_database: Path, request: pytest.FixtureRequest) -> TrackingConfig:
    """A registered model of the test's own in the shared database."""
    return TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}",
        artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model=f"model of {request.node.name}",
    )


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The smallest folder with everything a Hugging Face model needs."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, value in {
        "config.json": {"model_type": "qwen2"},
        "tokenizer.json": {"version": "1.0"},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    save_file({"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, folder / "model.safetensors")
    return folder
