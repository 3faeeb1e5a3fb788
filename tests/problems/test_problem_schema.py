"""The problem record and its typed tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sgpo.problems import Problem
from sgpo.problems.schema import problem_id
from sgpo.problems.table import TableError, read_table, write_table
from sgpo.rollouts.schema import Rollout
from sgpo.strategies.schema import CRITERIA, Strategy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(lambda text: text != "")

strategies = st.builds(
    Strategy,
    problem_id=NAME,
    problem_type=NAME,
    approach=NAME,
    steps=st.lists(TEXT, min_size=1, max_size=4).map(tuple),
    score=st.floats(0, 1),
    scores=st.fixed_dictionaries({criterion: st.floats(0, 1) for criterion in CRITERIA}),
    teacher=TEXT,
    prompt_version=TEXT,
    candidates_seen=st.integers(1, 2**63 - 1),
)
rollouts = st.builds(
    Rollout,
    problem_id=TEXT,
    group=st.sampled_from(["autonomous", "guided"]),
    token_ids=st.lists(st.integers(0, 2**31), max_size=5).map(tuple),
    logprobs=st.lists(st.floats(max_value=0, allow_nan=False), max_size=5).map(tuple),
    text=TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
    reward=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
    policy_step=st.integers(0, 10**9),
)


def a_strategy(**changes) -> Strategy:
    fields = dict.fromkeys(("problem_id", "problem_type", "approach", "teacher", "prompt_version"), "x")
    scores = dict.fromkeys(CRITERIA, 0.5)
    return Strategy(**{**fields, "steps": ("a",), "score": 0.5, "scores": scores, "candidates_seen": 1, **changes})


def a_rollout(**changes) -> Rollout:
    fields = {"problem_id": "p", "group": "guided", "token_ids": (1, 2), "logprobs": (-0.5, -0.1), "text": "t"}
    more = {"finish_reason": "stop", "reward": 1.0, "seed": 7, "policy_step": 3}
    return Rollout(**{**fields, **more, **changes})


def test_the_id_is_a_hash_of_question_and_answer_unless_given():
    assert Problem(question="q", answer="a").id == problem_id("q", "a")
    assert Problem(question="q", answer="b").id != problem_id("q", "a")
    assert Problem(question="q", answer="a", source="elsewhere", difficulty=3).id == problem_id("q", "a")
    assert Problem(id="mine", question="q", answer="a").id == "mine"


@pytest.mark.parametrize(
    "fields",
    [{"answer": " \n"}, {"question": ""}, {"difficulty": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")},
     {"tolerance": float("inf")}, {"source": ""}, {"anser": "5"}, {"answer": "\ud800"}],
)  # fmt: skip
def test_a_problem_with_a_wrong_field_is_refused(fields):
    with pytest.raises(ValidationError):
        Problem(**{"question": "q", "answer": "a", **fields})


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(strategies, max_size=5))
def test_strategies_come_back_from_a_table_as_they_were(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "strategies.parquet"
    write_table(rows, path, Strategy)
    assert read_table(path, Strategy) == rows


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(rollouts, max_size=5))
def test_rollouts_come_back_from_a_table_as_they_were(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rollouts.parquet"
    write_table(rows, path, Rollout)
    assert read_table(path, Rollout) == rows


def test_the_same_rows_give_the_same_bytes_whatever_the_order_of_their_dictionaries(tmp_path):
    turned = dict(reversed(a_strategy().scores.items()))
    for name, rows in {"a": [a_strategy(), a_strategy()], "b": [a_strategy(), a_strategy(scores=turned)]}.items():
        write_table(rows, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def refusal(path: Path, model: type) -> str:
    with pytest.raises(TableError) as refused:
        read_table(path, model)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def changed(path: Path, change) -> Path:
    """The table at `path` with its Arrow table changed by `change`."""
    pq.write_table(change(pq.read_table(path)), path)
    return path


def test_a_table_that_does_not_fit_is_refused_by_file_row_and_field(tmp_path):
    path = tmp_path / "rollouts.parquet"

    def fresh() -> Path:
        write_table([a_rollout(), a_rollout()], path)
        return path

    def with_column(name, values, arrow_type):
        def change(table):
            return table.set_column(table.column_names.index(name), name, pa.array(values, arrow_type))

        return change

    assert "field 'seed' is missing" in refusal(changed(fresh(), lambda t: t.drop_columns(["seed"])), Rollout)
    extra = changed(fresh(), lambda t: t.append_column("sed", pa.array([1, 2])))
    assert refusal(extra, Rollout).startswith(f"{path}: unknown field 'sed' (known fields: problem_id, group, ")
    text = changed(fresh(), with_column("seed", ["1", "2"], pa.string()))
    assert refusal(text, Rollout) == f"{path}: column 'seed' holds string (expected int64)"
    half = changed(fresh(), with_column("seed", [1.0, 2.5], pa.float64()))
    assert "column 'seed' holds double" in refusal(half, Rollout)
    group = changed(fresh(), with_column("group", ["guided", "auto"], pa.string()))
    assert refusal(group, Rollout).startswith(f"{path} row 2: 'group' is 'auto' (Input should be 'autonomous' or")
    empty = changed(fresh(), with_column("reward", [1.0, None], pa.float64()))
    assert refusal(empty, Rollout).startswith(f"{path} row 2: 'reward' is empty")
    path.write_text("not a table")
    assert refusal(path, Rollout).startswith(f"{path}: not a readable Parquet file")
    assert refusal(tmp_path / "none.parquet", Rollout) == f"{tmp_path / 'none.parquet'}: no such file"


def test_narrower_columns_and_missing_optional_columns_are_read(tmp_path):
    path = tmp_path / "problems.parquet"
    columns = {"question": pa.array(["q"]).dictionary_encode(), "answer": pa.array(["a"], pa.large_string())}
    pq.write_table(pa.table({**columns, "difficulty": pa.array([3], pa.int8())}), path)
    assert read_table(path, Problem) == [Problem(question="q", answer="a", difficulty=3)]


def test_a_value_that_no_column_holds_is_refused_by_row_and_nothing_is_written(tmp_path):
    path = tmp_path / "rollouts.parquet"
    with pytest.raises(TableError, match=r"rollouts.parquet row 2: 'seed' does not fit a column of int64"):
        write_table([a_rollout(), a_rollout(seed=2**64)], path)
    with pytest.raises(TableError, match=r"row 2: is a Strategy \(expected Rollout\)"):
        write_table([a_rollout(), a_strategy()], path)
    with pytest.raises(TableError, match="no rows to write"):
        write_table([], path)
    assert list(tmp_path.iterdir()) == []


class Odd(BaseModel):
    value: int | str


@dataclasses.dataclass
class Nested:
    inner: Odd


def test_a_record_type_without_a_column_type_is_a_programming_error(tmp_path):
    for row in (Odd(value=1), Nested(inner=Odd(value=1))):
        with pytest.raises(TypeError, match="no Parquet column holds"):
            write_table([row], tmp_path / "odd.parquet")
