"""What a warm-up learns from: both contexts in their shares, and data that are told from other data."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.algorithms.rows import Row
from sgpo.config import WarmupConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.training.warmup_rows import Contexts, data_digest, make_contexts, rows_of_step

PROBLEMS = [Problem(id=name, question=f"How many has {name}?", answer="7", response="It is 7.") for name in "abcd"]
STRATEGIES = {name: f"Count what {name} has." for name in "abc"}


def pairs(count: int) -> list[Contexts]:
    return [Contexts(Row((1,), (2,), place), Row((1, 3), (2,), place)) for place in range(count)]


@given(st.integers(1, 40), st.integers(0, 20), st.floats(0.0, 1.0))
def test_an_epoch_has_its_share_of_guided_rows(count: int, epoch: int, share: float) -> None:
    guided = sum(pair.row(epoch, share) is pair.guided for pair in pairs(count))
    assert abs(guided - share * count) <= 1.0


@given(st.integers(0, 40), st.sampled_from([2, 4, 5, 10]))
def test_a_problem_is_guided_in_its_share_of_the_epochs(place: int, of: int) -> None:
    pair = Contexts(Row((1,), (2,), place), Row((1, 3), (2,), place))
    assert sum(pair.row(epoch, 1.0 / of) is pair.guided for epoch in range(3 * of)) == 3


def test_an_epoch_has_every_problem_once_and_without_a_share_no_strategy() -> None:
    for share in (0.0, 0.5):
        settings = WarmupConfig(batch_size=3, guided_fraction=share)
        for epoch in (0, 1):
            rows = [row for batch in range(3) for row in rows_of_step(pairs(7), settings, 0, 3 * epoch + batch)]
            assert Counter(row.index for row in rows) == dict.fromkeys(range(7), 1)
            assert any(len(row.prompt) == 2 for row in rows) == (share > 0.0)


def test_the_guided_row_has_the_prompt_that_a_guided_rollout_has(tokenizer) -> None:
    chat = ChatFormat(tokenizer)
    contexts = make_contexts(PROBLEMS, STRATEGIES, chat, WarmupConfig(guided_fraction=0.5))
    for problem, pair in zip(PROBLEMS[:3], contexts, strict=False):
        assert pair.guided is not None
        assert pair.guided.prompt == tuple(chat.build(problem.question, STRATEGIES[problem.id]))
        assert pair.guided.response == pair.alone.response == chat.response_ids("It is 7.")
        assert len(pair) == len(pair.guided)
    assert contexts[3].guided is None  # it has no strategy
    assert contexts[3].row(0, 1.0) is contexts[3].alone
    assert all(pair.guided is None for pair in make_contexts(PROBLEMS, STRATEGIES, chat, WarmupConfig()))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_other_data_have_another_digest(share: float) -> None:
    settings = WarmupConfig(guided_fraction=share)
    digest = data_digest(PROBLEMS, STRATEGIES, settings)
    assert data_digest(list(PROBLEMS), dict(STRATEGIES), settings.model_copy(update={"epochs": 9})) == digest
    reworded = [PROBLEMS[0].model_copy(update={"response": "7, it is."}), *PROBLEMS[1:]]
    assert data_digest(reworded, STRATEGIES, settings) != digest
    assert data_digest(PROBLEMS[1:], STRATEGIES, settings) != digest
    same_without_strategies = data_digest(PROBLEMS, {**STRATEGIES, "a": "Guess."}, settings) == digest
    assert same_without_strategies == (share == 0.0)
