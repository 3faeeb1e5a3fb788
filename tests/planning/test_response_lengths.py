"""The distribution of lengths against its own integral, and decoding against sums made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.planning import counts
from sgpo.planning.counts import Extent
from sgpo.planning.devices import DEVICES
from sgpo.planning.lengths import Lengths
from sgpo.planning.sampling import decode_cost, token_cost
from sgpo.planning.shapes import SHAPES

SHAPE, H100 = SHAPES["qwen2.5-7b"], DEVICES["h100"]


@given(st.integers(2, 20000), st.floats(0.02, 1.0), st.floats(0.0, 0.2))
def test_mean_and_square_are_those_of_the_lengths_that_survive(longest: int, fraction: float, endless: float):
    lengths = Lengths(fraction * longest, longest, endless)
    at = (np.arange(20000) + 0.5) * longest / 20000
    scale = lengths.scale
    alive = np.array([lengths.longer_than(position, scale) for position in at])
    width = longest / 20000
    assert alive.sum() * width == pytest.approx(lengths.mean, rel=2e-3)
    assert 2 * (alive * at).sum() * width == pytest.approx(lengths.square, rel=3e-3)
    assert lengths.longer_than(longest) == 0.0


def test_endless_responses_are_at_most_half_of_all_tokens():
    lengths = Lengths(mean=10, longest=1000, endless=0.5)
    assert lengths.endless_share * 1000 == pytest.approx(5)


def test_one_token_of_one_row_takes_the_time_of_reading_the_weights():
    cost = token_cost(SHAPE, H100, "bfloat16", rows=1, context=0, host_s=0.0)
    read = 2 * (counts.parameters(SHAPE) - SHAPE.vocabulary * SHAPE.hidden)  # a token's own embedding is one row
    assert cost.seconds == pytest.approx(read / (0.70 * 3.35e12), rel=0.01)
    assert cost.limit == "memory bandwidth"


def test_many_rows_are_bound_by_products_and_long_contexts_by_keys_and_values():
    wide = token_cost(SHAPE, H100, "bfloat16", rows=2000, context=0, host_s=0.0)
    linear = counts.forward_flops(SHAPE, Extent(2000, 0, 2000)) / (0.78 * 989e12)
    assert wide.products == pytest.approx(linear)
    cached = token_cost(SHAPE, H100, "bfloat16", rows=64, context=20000, host_s=0.0)
    cache = 64 * 20000 * 2 * 28 * 4 * 128 * 2 / (0.70 * 3.35e12)
    assert cached.traffic > cache > 0.7 * cached.seconds


def test_rows_of_equal_lengths_decode_in_so_many_equal_tokens():
    whole = decode_cost(SHAPE, H100, "bfloat16", 0, Lengths(50, 50), rollouts=8, room=8, host_s=0.01)
    tokens = [token_cost(SHAPE, H100, "bfloat16", 8, position, 0.01).seconds for position in range(50)]
    assert whole.seconds == pytest.approx(sum(tokens), rel=1e-3)
    assert whole.host == pytest.approx(0.5)


def test_without_room_for_all_the_engine_is_full_until_the_last_rows():
    lengths = Lengths(300, 4000)
    few = decode_cost(SHAPE, H100, "bfloat16", 100, lengths, rollouts=64, room=64, host_s=0.004)
    waiting = decode_cost(SHAPE, H100, "bfloat16", 100, lengths, rollouts=640, room=64, host_s=0.004)
    in_batches = decode_cost(SHAPE, H100, "bfloat16", 100, lengths, 640, 64, 0.004, continuous=False)
    assert in_batches.seconds == pytest.approx(10 * few.seconds)
    assert few.seconds < waiting.seconds < 0.5 * in_batches.seconds
    assert waiting.host == pytest.approx(few.host + 0.004 * 576 * 300 / 64)


def test_a_few_endless_responses_hold_up_a_whole_step():
    lengths = [Lengths(1500, 28672, share) for share in (0.0, 0.01)]
    without, some = (decode_cost(SHAPE, H100, "bfloat16", 100, one, 256, 256, 0.004).seconds for one in lengths)
    assert some > 1.5 * without
