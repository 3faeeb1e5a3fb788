"""Seconds to draw a step's rollouts: prompts once, then token by token with as many rows as are still unfinished."""

from __future__ import annotations

import math

from sgpo.planning import counts
from sgpo.planning.cost import Cost, forward_cost
from sgpo.planning.counts import Extent
from sgpo.planning.devices import Device
from sgpo.planning.efficiency import efficiency_of
from sgpo.planning.lengths import Lengths
from sgpo.planning.shapes import Shape

GRID = 256
"""Points in time at which the number of unfinished rows is looked at."""


def token_cost(shape: Shape, device: Device, precision: str, rows: float, context: float, host_s: float,
               devices: int = 1) -> Cost:  # fmt: skip
    """Return the cost of one token for each of `rows` rows whose context has `context` tokens, on `devices` together.

    Weights are read once for all rows, keys and values once a row; products and reading overlap, layer by layer.
    """
    reached, width = efficiency_of(device), 2 if precision == "bfloat16" else 4
    rate = devices * device.flops(precision) * reached.products
    read = devices * device.bandwidth * reached.decode_bandwidth
    one = Extent(rows, 0.0, rows)
    linear = (counts.layer_flops(shape, one) + counts.vocabulary_flops(shape, one)) / rate
    matrices = shape.layers * counts.layer_matrices(shape) + shape.vocabulary * shape.hidden
    weights = width * matrices / read
    pairs = Extent(rows, rows * context, 0.0)
    attention, cache = (
        counts.attention_flops(shape, pairs) / rate,
        rows * context * counts.kv_bytes(shape, width) / read,
    )
    moved = shape.layers * counts.activation_bytes(shape, width) * rows * reached.decode_passes
    logits = 4.0 * shape.vocabulary * rows * reached.scoring_passes
    copies = (moved + logits) / (devices * device.bandwidth * reached.copies)
    products = (linear if linear >= weights else 0.0) + (attention if attention >= cache else 0.0)
    reading = (weights if weights > linear else 0.0) + (cache if cache > attention else 0.0)
    return Cost(products=products, traffic=reading + copies, host=host_s)


def decode_cost(
    shape: Shape, device: Device, precision: str, prompt: float, lengths: Lengths, rollouts: float, room: float,
    host_s: float, devices: int = 1, continuous: bool = True,
) -> Cost:  # fmt: skip
    """Return the cost of `rollouts` responses on one engine of `devices` devices with room for `room` rows at once.

    A continuous engine starts the next row when one ends: it is full until the last rows are begun, then empties.
    Another draws batch after batch, each to its longest response.
    """
    rows = max(1.0, min(rollouts, room))
    full = Cost()
    batches = 1.0 if continuous else rollouts / rows
    if continuous and rollouts > rows:
        context = prompt + lengths.square / (2.0 * lengths.mean)
        full = token_cost(shape, device, precision, rows, context, host_s, devices)
        full = full * ((rollouts - rows) * lengths.mean / rows)
    stride = lengths.longest / GRID
    emptying, scale = Cost(), lengths.scale
    for place in range(GRID):
        position = (place + 0.5) * stride
        share = lengths.longer_than(position, scale)
        alive = -math.expm1(rows * math.log1p(-min(share, 1.0 - 1e-12)))  # that any row has a token here
        if alive < 1e-6:
            break
        left = max(1.0, rows * share)
        cost = token_cost(shape, device, precision, left, prompt + position, host_s, devices)
        emptying = emptying + cost * (stride * alive)
    return full + emptying * batches


def prompt_cost(shape: Shape, device: Device, precision: str, prompts: Extent, devices: int = 1) -> Cost:
    """Return the cost of reading prompts, each once: engines keep what rows share."""
    return forward_cost(shape, device, precision, prompts * (1.0 / devices), passes=0.0)
