"""Files with a quirk each: encodings, separators, numbers, NaN, blanks, repeats are read right or refused by name."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems import Problem, ProblemFileError, read_problems
from tests.problems.test_layouts import jsonl, read, refusal, verl

ONE = {"question": "What is 1+1?", "answer": "2"}


def table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([2, 4], ["2", "4"]),
        ([2.0, 2.5], ["2", "2.5"]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3"]),
        ([Decimal("2.50"), Decimal("4.00")], ["2.5", "4"]),
        ([["1", "2"], ["3"]], ["1, 2", "3"]),
    ],
)
def test_answers_that_are_numbers_or_lists_are_written_out(answers, expected, tmp_path) -> None:
    found = read_problems(table(tmp_path / "a.parquet", question=["q", "r"], answer=answers))
    assert [problem.answer for problem in found] == expected
    assert [problem.multiple for problem in found] == ["," in answer for answer in expected]
    if isinstance(answers, list) and not isinstance(answers[0], Decimal):
        rows = [{"question": name, "answer": answer} for name, answer in zip("qr", answers, strict=True)]
        assert read_problems(jsonl(tmp_path / "a.jsonl", *rows)) == found


BYTES = {
    "bom.jsonl": b'\xef\xbb\xbf{"question": "What is 1+1?", "answer": "2"}\n',
    "crlf.jsonl": b'{"question": "What is 1+1?", "answer": "2"}\r\n',
    "json_array.jsonl": b'[{"question": "What is 1+1?", "answer": "2"}]\n',
    "array.json": b'[\n {"question": "What is 1+1?",\n "answer": "2"}]\n',
    "lines.json": b'{"question": "What is 1+1?", "answer": "2"}\n',
    "UPPER.JSONL": b'{"question": "What is 1+1?", "answer": "2"}\n',
    "bom_crlf.csv": b"\xef\xbb\xbfquestion,answer\r\nWhat is 1+1?,2\r\n",
    "index_column.csv": b",question,answer\n0,What is 1+1?,2\n",
    "named_index.csv": b"Unnamed: 0,question,answer\n0,What is 1+1?,2\n",
}


@pytest.mark.parametrize("name", BYTES)
def test_marks_line_ends_arrays_and_index_columns_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BYTES[name])
    problems, report = read(path)
    assert problems == [Problem(**ONE)]
    assert report.notes == (("the index column is left out",) if "index" in name else ())


def test_a_separator_of_lines_in_the_text_a_long_question_and_a_power_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"question": "What is\u20281+1?", "answer": "2"}, {"question": "x " * 500_000, "answer": "2"},
            {"question": "Write a thousand.", "answer": "1e3"}]  # fmt: skip
    path = jsonl(tmp_path / "a.jsonl", *rows)
    assert [problem.model_dump(include={"question", "answer"}) for problem in read_problems(path)] == rows


REFUSED = {
    "nan.csv": (b"question,answer\na,2\nb,NaN\n", "row 2: 'answer' is 'NaN' (expected the final answer as text, and"),
    "empty.csv": (b"question,answer\na,\n", "row 1: 'answer' is empty (expected the final answer as text)"),
    "nan.jsonl": (b'{"question": "q", "answer": NaN}\n', "row 1: 'answer' is nan (expected the final answer as te"),
    "text.jsonl": (b'{"question": "q", "answer": " nan"}\n', "row 1: 'answer' is ' nan' (expected the final answer"),
    "list.jsonl": (b'{"question": "q", "answer": ["1", NaN]}\n', "row 1: 'answer' is nan (expected the final answer"),
    "blank.jsonl": (b'{"question": " \\t\\n", "answer": "2"}\n', "row 1: 'question' is empty (expected the problem"),
    "nbsp.jsonl": (b'{"question": "\\u00a0\\u200b", "answer": "2"}\n', "row 1: 'question' is empty (expected the"),
    "width.jsonl": (b'{"question": "\\u200b\\u2060\\ufeff", "answer": "2"}\n', "row 1: 'question' is empty (expected"),
    "nul.jsonl": (b'{"question": "What is\\u0000 1?", "answer": "2"}\n', "row 1: 'question' holds a NUL character ("),
    "nul.csv": (b"question,answer\nq,1\0\n", "row 1: 'answer' holds a NUL character (expected the final answer"),
    "utf16.csv": ("question,answer\nq,2\n".encode("utf-16"), ": looks like UTF-16: save it as UTF-8 (expected text in"),
    "bare16.jsonl": (json.dumps(ONE).encode("utf-16-be"), ": looks like UTF-16: save it as UTF-8 (expected text in"),
    "semicolon.csv": (b"question;answer\nq;2,5\n", "header: the separator looks like ';' (expected commas)"),
    "tab.csv": (b"question\tanswer\nq\t2,5\n", "header: the separator looks like a tab (expected commas)"),
    "object.json": (b'{"data": [1]}', ": no 'question', and no published layout: its fields are 'data' (expected"),
    "nothing.jsonl": (b"{}", ": no 'question', and no published layout: its fields are none (expected question and"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_problem_can_be_made_of_is_refused_by_row_and_field(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data, message = REFUSED[name]
    path.write_bytes(data)
    assert refusal(path).startswith(message)


def test_a_float_column_with_nan_is_refused_by_its_row(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", question=["q", "r"], answer=[2.0, float("nan")])
    assert refusal(path).startswith("row 2: 'answer' is nan (expected the final answer as text")


def test_a_question_with_two_answers_is_refused_by_both_rows_and_one_with_the_same_number_is_merged(tmp_path) -> None:
    rows = [{"id": "a", **ONE}, {"id": "b", **ONE, "answer": "2.0"}, {"question": "What is  1+1? ", "answer": "3"}]
    problems, report = read(jsonl(tmp_path / "a.jsonl", *rows[:2]))
    assert ([problem.id for problem in problems], report.merged) == (["a"], 1)
    assert refusal(jsonl(tmp_path / "a.jsonl", *rows)) == (
        "row 3: the question of row 1 has the answer '2' there and '3' here (expected one answer to one question)"
    )


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """Files that are whole but for some bytes."""
    cuts = st.tuples(st.integers(0, len(data)), st.integers(0, 8), st.binary(max_size=8))
    return st.lists(cuts, max_size=3).map(
        lambda edits: _edited(data, edits)
    )  # fmt: skip


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, put in edits:
        data = data[:at] + put + data[at + length :]
    return data


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"question": ["q", "r"], "answer": [[1.5], [2.0, 3.0]]}), sink)
    return sink.getvalue().to_pybytes()


WHOLE = {
    ".jsonl": (json.dumps(verl("q", "2")) + "\n" + json.dumps(verl("r", 2)) + "\n").encode(),
    ".json": json.dumps([ONE, {"question": "Roots?", "answer": [1, 2.5]}]).encode(),
    ".csv": b'question,answer,difficulty\n"two\nlines",2,1\nq,"3,5",\n',
    ".parquet": _parquet(),
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_give_problems_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(sorted(WHOLE)))
    path = tmp_path_factory.mktemp("bytes") / f"any{suffix}"
    path.write_bytes(data.draw(st.binary(max_size=80) | mutated(WHOLE[suffix])))
    try:
        problems = read_problems(path)
    except ProblemFileError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith(str(path))
    else:
        assert problems
