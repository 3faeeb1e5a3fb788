"""The most similar of many rows without comparing all: rows that reach a cosine share one of their rare words.

The rows y of length 1 are split into a rare part r, of their rarest columns, and a rest that is shorter than the
threshold t. As x.y <= x.r + |y - r|, a row with x.y >= t has x.r > 0, and only few rows have rare columns in common:
time grows with those pairs, not with all. The result is exact (all-pairs similarity search, Bayardo et al. 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

_ROUNDING = 1e-9
_PAIRS_AT_ONCE = 2**16


class RareParts(NamedTuple):
    """The rare columns of every row, and how long what is left of it is, [rows]."""

    rows: csr_array
    rest: np.ndarray


def rare_parts(vectors: csr_array, threshold: float) -> RareParts:
    """Split rows of length 1 (or 0): the rarest columns first, until the rest is shorter than `threshold`."""
    import numpy as np
    from scipy.sparse import csr_array

    columns, lengths = int(vectors.indices.max(initial=0)) + 1, np.diff(vectors.indptr)
    row = np.repeat(np.arange(lengths.size), lengths)
    frequency = np.bincount(vectors.indices, minlength=columns)
    order = np.lexsort((vectors.indices, frequency[vectors.indices], row))
    mass = vectors.data[order] ** 2
    upto = np.concatenate([[0.0], np.cumsum(mass)])
    before = upto[:-1] - np.repeat(upto[vectors.indptr[:-1]], lengths)  # what earlier columns of the row hold
    kept = np.sqrt(np.maximum(0.0, 1.0 - before)) >= threshold - 1e-6
    rest = np.bincount(row[order], weights=np.where(kept, 0.0, mass), minlength=lengths.size)
    part = csr_array(
        (vectors.data[order][kept], (row[order][kept], vectors.indices[order][kept])), shape=vectors.shape
    )  # fmt: skip
    return RareParts(part, np.sqrt(rest))


def most_similar(
    block: csr_array, vectors: csr_array, rare: RareParts, among: Sequence[int], threshold: float
) -> dict[int, tuple[int, float]]:
    """Return row of `block` -> (row of `vectors`, cosine): the most similar of the rows `among`, of equals the first.

    Rows of `block` are there only where the cosine is at least `threshold`, but for rounding.
    """
    import numpy as np

    places = np.asarray(among)
    shared = (block @ rare.rows[places].T).tocoo()
    possible = shared.data + rare.rest[places][shared.col] >= threshold - 1e-6
    row, place = shared.row[possible], shared.col[possible]
    cosine = np.empty(row.size)
    for start in range(0, row.size, _PAIRS_AT_ONCE):
        span = slice(start, start + _PAIRS_AT_ONCE)
        cosine[span] = np.asarray(block[row[span]].multiply(vectors[places[place[span]]]).sum(axis=1)).ravel()
    near = cosine >= threshold - _ROUNDING
    row, place, cosine = row[near], place[near], cosine[near]
    order = np.lexsort((place, -cosine.round(12), row))
    first = order[np.concatenate([[True], np.diff(row[order]) > 0])] if order.size else order
    return {int(row[at]): (int(places[place[at]]), float(cosine[at])) for at in first}
