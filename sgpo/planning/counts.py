"""What a model computes and moves: operations and bytes from its shape, for plans and for rooflines alike.

A product of [n, a] and [a, b] is 2 n a b operations. Attention is counted over the pairs of a query and a key that it
needs. Useful operations are those of an `Extent` that has every prompt once, computed ones those of rows as they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgpo.planning.shapes import Shape


@dataclass(frozen=True, slots=True)
class Extent:
    """How much goes through the model: tokens, pairs of query and key, and tokens whose logits are needed."""

    tokens: float = 0.0
    pairs: float = 0.0
    predicted: float = 0.0

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.tokens + other.tokens, self.pairs + other.pairs, self.predicted + other.predicted)

    def __mul__(self, times: float) -> Extent:
        return Extent(self.tokens * times, self.pairs * times, self.predicted * times)


def plain_rows(prompt: float, response: float, rows: float, response_square: float | None = None) -> Extent:
    """Return the extent of rows with a prompt each, under a causal mask; logits of the responses alone.

    `response_square` is the mean of the squared lengths where responses differ.
    """
    square = response**2 if response_square is None else response_square
    pairs = (prompt**2 + 2 * prompt * response + square + prompt + response) / 2
    return Extent(prompt + response, pairs, response) * rows


def shared_rows(prompt: float, response: float, rows: float, response_square: float | None = None) -> Extent:
    """Return the extent of a group's rows with their prompt once."""
    if not rows:
        return Extent()
    prompt_once = plain_rows(prompt, 0.0, 1.0)
    return plain_rows(prompt, response, rows, response_square) + prompt_once * (1.0 - rows)


def layer_matrices(shape: Shape) -> int:
    """Return the weights of one layer that tokens are multiplied by."""
    return shape.hidden * (2 * shape.query + 2 * shape.key + 3 * shape.intermediate)


def parameters(shape: Shape) -> int:
    """Return the parameters of the whole model, tied ones once."""
    biases = (shape.query + 2 * shape.key) * shape.qkv_bias + shape.hidden * shape.output_bias
    norms = 2 * shape.hidden + 2 * shape.head_dim * shape.qk_norm
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return shape.layers * (layer_matrices(shape) + biases + norms) + embeddings + shape.hidden


def root_parameters(shape: Shape) -> int:
    """Return the parameters outside the layers: embeddings, projection and the last norm."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.hidden


def layer_flops(shape: Shape, extent: Extent) -> float:
    """Return the operations of a forward through all layers' matrices, attention and logits left out."""
    return 2.0 * shape.layers * layer_matrices(shape) * extent.tokens


def attention_flops(shape: Shape, extent: Extent) -> float:
    """Return the operations of a forward's attention: queries with keys, weights with values."""
    return 4.0 * shape.layers * shape.query * extent.pairs


def vocabulary_flops(shape: Shape, extent: Extent) -> float:
    """Return the operations of a forward's logits."""
    return 2.0 * shape.vocabulary * shape.hidden * extent.predicted


def forward_flops(shape: Shape, extent: Extent) -> float:
    """Return the operations of a forward; a backward is twice as many, and as many again where it recomputes."""
    return layer_flops(shape, extent) + attention_flops(shape, extent) + vocabulary_flops(shape, extent)


def kv_bytes(shape: Shape, width: int) -> int:
    """Return the bytes of keys and values that a token leaves in all layers; `width` is the bytes of a number."""
    return 2 * shape.layers * shape.key * width


def activation_bytes(shape: Shape, width: int) -> int:
    """Return the bytes that one layer keeps of a token for backward, as transformers' eager layers do.

    Two norms each keep their input in float32, what the weight is multiplied with, and their output; attention its
    queries, keys, values and output; the MLP four rows of the intermediate width. Qwen3's norms of queries and keys
    keep the first two likewise. SDPA keeps no attention matrix.
    """
    norms = 2 * shape.hidden * (4 + 2 * width)
    attention = width * (2 * shape.query + 2 * shape.key)
    qk_norms = (4 + width) * (shape.query + shape.key) * shape.qk_norm
    return norms + attention + qk_norms + 4 * width * shape.intermediate


def optimizer_bytes(trained: float) -> float:
    """Return the bytes that clipping and AdamW move: float32 weight, gradient and two moments.

    The norm reads the gradient, clipping reads and writes it, AdamW reads four numbers and writes three.
    """
    return 4.0 * trained * (1 + 2 + 7)
