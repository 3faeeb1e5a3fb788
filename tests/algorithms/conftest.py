"""The tiny testbed, for the tests of this room."""

from tiny_testbed import data_folder, family, model_folder, tokenizer

__all__ = ["data_folder", "family", "model_folder", "tokenizer"]
