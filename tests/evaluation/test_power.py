"""What an evaluation can prove, against what benchmarks/gate.py measured (docs/measured/operations.md)."""

import pytest

from sgpo.evaluation.power import found_gain, shown_gain

MEASURED = {(240, 4): 4.0, (240, 6): 3.35, (240, 8): 3.0}
"""Half widths in points, by problems and responses each."""


@pytest.mark.parametrize("size", MEASURED)
def test_the_half_width_is_the_measured_one(size: tuple[int, int]) -> None:
    assert 100 * shown_gain(*size) == pytest.approx(MEASURED[size], abs=0.15)


def test_a_gain_that_was_found_in_eight_of_ten_is_about_the_one_that_is_said() -> None:
    # Measured: 5 points are found in 82.6 % of evaluations of 240 x 6, the four benchmarks' 2 points in 79.5 %.
    assert 100 * found_gain(240, 6) == pytest.approx(4.8, abs=0.2)
    assert 0.015 < found_gain(1245, 4) < 0.03


def test_a_small_evaluation_cannot_show_twenty_points() -> None:
    assert shown_gain(16, 2) == pytest.approx(0.20, abs=0.01)
    assert shown_gain(160, 2) < shown_gain(16, 2)
    with pytest.raises(ValueError, match="0 problems"):
        shown_gain(0, 2)
