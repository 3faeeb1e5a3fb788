"""What an evaluation can prove, against what benchmarks/gate.py measured (docs/measured/operations.md)."""

import random
import statistics

import pytest

from sgpo.evaluation.power import BETWEEN, WITHIN, found_gain, shown_gain

MEASURED = {(240, 4): 4.0, (240, 6): 3.35, (240, 8): 3.0}
"""Half widths in points, by problems and responses each."""


@pytest.mark.parametrize("size", MEASURED)
def test_the_half_width_is_the_measured_one(size: tuple[int, int]) -> None:
    assert 100 * shown_gain([size[1]] * size[0]) == pytest.approx(MEASURED[size], abs=0.15)


def test_a_gain_that_was_found_in_eight_of_ten_is_about_the_one_that_is_said() -> None:
    # Measured: 5 points are found in 82.6 % of evaluations of 240 x 6, the four benchmarks' 2 points in 79.5 %.
    assert 100 * found_gain([6] * 240) == pytest.approx(4.8, abs=0.2)
    assert 0.015 < found_gain([4] * 1245) < 0.03


def test_a_small_evaluation_cannot_show_twenty_points() -> None:
    assert shown_gain([2] * 16) == pytest.approx(0.20, abs=0.01)
    assert shown_gain([2] * 160) < shown_gain([2] * 16)
    with pytest.raises(ValueError, match="0 problems"):
        shown_gain([])


def test_benchmarks_of_several_sizes_are_as_sure_as_their_draws_say() -> None:
    # The interval's half width, from simulated evaluations: 40 problems x 32 responses beside 160 x 2.
    ks, draw = [32] * 40 + [2] * 160, random.Random(0)
    gains = [
        statistics.fmean(
            draw.gauss(draw.gauss(0, BETWEEN**0.5), (WITHIN / k) ** 0.5) - draw.gauss(0, (WITHIN / k) ** 0.5)
            for k in ks
        )
        for _ in range(2000)
    ]
    assert shown_gain(ks) == pytest.approx(1.96 * statistics.pstdev(gains), rel=0.06)
    assert shown_gain([32] * 200) < shown_gain(ks) < shown_gain([2] * 200)
