"""Micro-batches: every row once, under the token budget, and little of it padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.algorithms.rows import Row
from sgpo.training.batches import PADDING_FRACTION, make_batch, split_rows

lengths = st.lists(st.tuples(st.integers(1, 80), st.integers(1, 120)), max_size=60)


@settings(deadline=None, max_examples=150)
@given(lengths, st.integers(1, 3000))
def test_rows_are_there_once_under_the_budget_and_with_little_padding(sizes, budget):
    rows = [Row((7,) * prompt, (8,) * response, key) for key, (prompt, response) in enumerate(sizes)]
    groups = split_rows(rows, budget)
    assert sorted(row.index for group in groups for row in group) == list(range(len(rows)))
    for group in groups:
        padded = len(group) * max(map(len, group))
        assert len(group) == 1 or padded <= budget
        assert padded - sum(map(len, group)) <= PADDING_FRACTION * padded


def test_the_split_does_not_depend_on_the_order_of_the_rows():
    rows = [Row((7,) * (1 + key % 5), (8,) * (3 + key % 4), key) for key in range(20)]
    assert split_rows(rows, 40) == split_rows(rows[::-1], 40)


def test_the_token_at_each_response_position_is_predicted_from_the_one_before():
    rows = [Row((1, 2), (3, 4, 5), 0), Row((6,), (7,), 1)]
    batch = make_batch(rows, 0, torch.device("cpu"))
    assert batch.input_ids_BT.tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert batch.targets_N.tolist() == [3, 4, 5, 7]
    assert batch.input_ids_BT[batch.row_index_N, batch.column_index_N].tolist() == [2, 3, 4, 6]
    assert batch.unflatten(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [[1, 2, 3], [4, 0, 0]]


@pytest.mark.parametrize(("prompt", "response"), [((), (1,)), ((1,), ())])
def test_an_empty_prompt_or_response_is_refused(prompt, response):
    with pytest.raises(ValueError, match="row 3: prompt has"):
        Row(prompt, response, 3)
