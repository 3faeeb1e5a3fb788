"""The tiny testbed, for the tests that measure a model."""

from tiny_testbed import model_folder, tokenizer

__all__ = ["model_folder", "tokenizer"]
