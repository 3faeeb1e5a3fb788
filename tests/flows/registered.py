"""A registered model of one weight per version, for tests of flows that change the champion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from sgpo.config import TrackingConfig
from sgpo.registry import register_model_folder
from sgpo.registry.promotion import CHAMPION
from sgpo.tracking.client import connect


def register(tracking: TrackingConfig, folder: Path, value: float) -> str:
    """A model of one weight as a new version, registered by a run of the folder's name."""
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    save_file({"weight": np.full(1, value, dtype=np.float32)}, folder / "model.safetensors")
    return register_model_folder(tracking, folder, {}, folder.name)


def move_alias_by_hand(tracking: TrackingConfig, version: str) -> None:
    """What MLflow's page does, past our record."""
    connect(tracking).set_registered_model_alias(tracking.registered_model, CHAMPION, version)
