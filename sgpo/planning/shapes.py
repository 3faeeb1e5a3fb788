"""The shape of a model: of a folder's config.json, of a transformers configuration, or of a published model by name."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgpo.errors import UserError

FAMILIES = ("llama", "qwen2", "qwen3")


class PlanError(UserError, ValueError):
    """A plan that cannot be made; one line that says what would be right."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of Llama's build: what its parameters, operations and bytes are counted from."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False

    @property
    def query(self) -> int:
        """Return the width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Return the width of all key heads together; the values' is the same."""
        return self.kv_heads * self.head_dim


SHAPES: dict[str, Shape] = {
    "smollm2-135m": Shape(576, 30, 9, 3, 64, 1536, 49152, True),
    "qwen2.5-0.5b": Shape(896, 24, 14, 2, 64, 4864, 151936, True, qkv_bias=True),
    "qwen2.5-1.5b": Shape(1536, 28, 12, 2, 128, 8960, 151936, True, qkv_bias=True),
    "qwen2.5-7b": Shape(3584, 28, 28, 4, 128, 18944, 152064, False, qkv_bias=True),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 151936, True, qk_norm=True),
    "llama-3.1-8b": Shape(4096, 32, 32, 8, 128, 14336, 128256, False),
}
"""Sizes in the config.json that each model's authors published."""


def find_shape(name: str) -> Shape:
    """Return the shape of a published model, or of a model folder; PlanError names the nearest one that is known."""
    if name.lower() in SHAPES:
        return SHAPES[name.lower()]
    if Path(name).is_dir():
        return _of_folder(Path(name))
    nearest = difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], SHAPES, n=1, cutoff=0.4)
    hint = f"; '{nearest[0]}' is nearest" if nearest else ""
    raise PlanError(f"shape '{name}' is unknown (expected a model folder, or one of {', '.join(SHAPES)}{hint})")


def _of_folder(folder: Path) -> Shape:
    file = folder / "config.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(f"{file}: no such file (expected a Hugging Face model folder)") from None
    except ValueError as error:
        raise PlanError(f"{file}: not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise PlanError(f"{file}: expected an object, found {type(tree).__name__}")
    return shape_of(tree, str(file))


def shape_of(config: Any, where: str = "config") -> Shape:
    """Return the shape of a transformers configuration, an object or the mapping in config.json.

    Raises PlanError for a family whose operations are not counted here, and for a size that is missing or no number.
    """
    tree: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
    family = tree.get("model_type")
    if family not in FAMILIES:
        raise PlanError(f"{where}: model_type is {family!r} (expected one of {', '.join(FAMILIES)})")

    def size(key: str, default: int | None = None) -> int:
        value = tree.get(key)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            raise PlanError(f"{where}: '{key}' is {value!r} (expected a whole number of at least 1)")
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    bias = bool(tree.get("attention_bias", False))
    return Shape(
        hidden, size("num_hidden_layers"), heads, size("num_key_value_heads", heads),
        size("head_dim", 128 if family == "qwen3" else max(1, hidden // heads)),
        size("intermediate_size"), size("vocab_size"), bool(tree.get("tie_word_embeddings", False)),
        qkv_bias=family == "qwen2" or bias, output_bias=family != "qwen2" and bias, qk_norm=family == "qwen3",
    )  # fmt: skip
