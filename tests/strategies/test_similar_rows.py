"""The most similar row, found without comparing all, is the one that comparing all finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.preprocessing import normalize

from sgpo.strategies.view.similar_rows import most_similar, rare_parts


def rows_of_words(seed: int, rows: int, columns: int) -> csr_array:
    """Return rows of length 1 whose columns are as unevenly frequent as words, many of them near copies, some empty."""
    draw = np.random.default_rng(seed)
    dense = draw.random((rows, columns)) * (draw.random((rows, columns)) < 1.0 / (1 + np.arange(columns)) ** 0.7)
    for row in range(1, rows, 2):
        dense[row] = dense[draw.integers(row)] * (draw.random(columns) < 0.95)
    dense[draw.integers(rows)] = 0.0
    return csr_array(normalize(csr_array(dense)))


@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 60), st.sampled_from([0.3, 0.6, 0.85, 0.99, 1.0]))
@settings(max_examples=60)
def test_it_finds_what_comparing_all_rows_finds(seed: int, rows: int, columns: int, threshold: float) -> None:
    vectors = rows_of_words(seed, rows, columns)
    among, block = list(range(0, rows, 3)), vectors[rows // 2 :]
    found = most_similar(block, vectors, rare_parts(vectors, threshold), among, threshold)
    cosines = block.toarray() @ vectors[among].toarray().T
    for row, of_row in enumerate(cosines):
        if of_row.max() >= threshold:
            place, cosine = found[row]
            assert cosine == pytest.approx(of_row.max(), abs=1e-9)
            assert place == among[int(of_row.round(12).argmax())]
        elif of_row.max() < threshold - 1e-6:
            assert row not in found


def test_few_rare_columns_are_enough_to_leave_most_rows_out() -> None:
    common = np.ones((50, 1))
    own = 2.0 * np.eye(50)
    vectors = csr_array(normalize(csr_array(np.hstack([common, own]))))  # one word of all, one of each
    rare = rare_parts(vectors, 0.85)
    assert rare.rows.nnz == 50
    assert (vectors @ rare.rows.T).nnz == 50
    assert rare.rest == pytest.approx(np.full(50, 0.2**0.5))
