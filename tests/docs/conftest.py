"""The tiny testbed of tests/training, and the code of docs/extend.md as modules."""

from __future__ import annotations

from tiny_testbed import data_folder, model_folder, tokenizer

__all__ = ["data_folder", "model_folder", "tokenizer"]
