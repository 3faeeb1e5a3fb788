"""The tiny testbed of tests/training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "study_training_conftest", Path(__file__).parents[1] / "training" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
tokenizer, family = _module.tokenizer, _module.family
model_folder, data_folder = _module.model_folder, _module.data_folder
