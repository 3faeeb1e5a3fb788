"""Problem files: what is read comes back as it was written, and what is wrong is named by file, row and field."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems import Problem, ProblemFileError, read_problems, write_problems

GOOD = {"question": "What is 2 + 3?", "answer": "5"}
GOOD_ID = Problem(**GOOD).id
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAID = TEXT.map(lambda text: text.replace("\0", "") + "é")
problems = st.lists(
    st.builds(
        Problem,
        id=TEXT,
        question=SAID,
        answer=SAID,
        domain=SAID,
        difficulty=st.none() | st.integers(1, 2**63 - 1),
        source=st.none() | SAID,
        response=st.none() | SAID,
        unit=st.none() | SAID,
        tolerance=st.none() | st.floats(0, allow_infinity=False),
        multiple=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=(lambda problem: problem.id, lambda problem: " ".join(problem.question.split())),
)


def write_jsonl(rows, path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")


def write_csv(rows, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


@settings(max_examples=60, deadline=None)
@given(expected=problems)
def test_any_problem_comes_back_from_every_format(expected, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_problems(expected, folder / "a.parquet")
    rows = [problem.model_dump() for problem in expected]
    write_jsonl(rows, folder / "a.jsonl")
    write_csv(rows, folder / "a.csv")
    for name in ("a.parquet", "a.jsonl", "a.csv"):
        assert read_problems(folder / name) == expected, name


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60), suffix=st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_any_bytes_are_read_or_refused_in_one_line(data, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / f"any{suffix}"
    path.write_bytes(data)
    with pytest.raises(ProblemFileError) as refused:
        read_problems(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_the_same_problems_give_the_same_bytes(tmp_path):
    some = [Problem(question=f"q{n}", answer=str(n)) for n in range(50)]
    write_problems(some, tmp_path / "a.parquet")
    write_problems([problem.model_copy() for problem in some], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def refusal(path: Path) -> str:
    with pytest.raises(ProblemFileError) as refused:
        read_problems(path)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).strip()


KNOWN = "known fields: id, question, answer, domain, difficulty, source, response, unit, tolerance, multiple, details"
MAPPING = "`sgpo problems import` takes any with --question FIELD --answer FIELD"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**GOOD, "answer": ""}, "row 2: 'answer' is empty (expected the final answer as text)"),
        ({**GOOD, "answer": " \t"}, "row 2: 'answer' is empty (expected the final answer as text)"),
        ({**GOOD, "answer": None}, "row 2: 'answer' is empty (expected the final answer as text)"),
        ({"question": "q"}, "row 2: 'answer' is missing (expected the final answer as text)"),
        ({**GOOD, "answer": True}, "row 2: 'answer' is True (expected the final answer as text)"),
        ({**GOOD, "answer": {"a": 1}}, "row 2: 'answer' is {'a': 1} (expected the final answer as text)"),
        ({**GOOD, "question": 5}, "row 2: 'question' is 5 (expected the problem as text)"),
        ({**GOOD, "answer": []}, "row 2: 'answer' is [] (expected a list of answers as text)"),
        ({**GOOD, "answer": ["1", " "]}, "row 2: 'answer' is ['1', ' '] (expected a list of answers as text)"),
        ({**GOOD, "answer": ["1", "2"], "multiple": False}, "row 2: 'multiple' is False, but 'answer' is a list"),
        ({**GOOD, "anser": "5"}, f"row 2: unknown field 'anser' ({KNOWN}; {MAPPING})"),
        ({**GOOD, "difficulty": "3"}, "row 2: 'difficulty' is '3' (expected a whole number from 1, the easiest, or"),
        ({**GOOD, "tolerance": float("nan")}, "row 2: 'tolerance' is nan (expected a finite absolute error from 0"),
        ([1, 2], "row 2: is a list (expected a JSON object with the fields of a problem)"),
        ({**GOOD, "question": "q", "id": GOOD_ID}, f"row 2: id '{GOOD_ID}' is already the id of row 1 (expected every"),
    ],
)
def test_a_wrong_jsonl_row_is_named_with_what_would_be_right(row, message, tmp_path):
    path = tmp_path / "new.jsonl"
    write_jsonl([GOOD, row], path)
    assert refusal(path).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q", "answer": "5"', "row 3: not JSON at column 32: Expecting ',' delimiter"),
        ('{"question": "q", "answer": "5", "answer": "6"}', "row 3: not a JSON record: field 'answer' is there twice"),
        ('{"question": "q", "answer": "\\ud800"}', "row 3: 'answer' holds a lone surrogate"),
        ("[" * 100000, "row 3: not a JSON record: "),
        ('{"question": "q", "difficulty": ' + "9" * 5000, "row 3: not a JSON record: "),
    ],
)
def test_a_malformed_jsonl_line_is_named_by_its_line_number(line, message, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + line + "\n", encoding="utf-8")
    assert refusal(path).startswith(message)


def test_text_that_is_not_utf8_is_named_by_its_byte(tmp_path):
    for name in ("latin.jsonl", "latin.csv"):
        path = tmp_path / name
        path.write_bytes(b'{"question": "q",\n "caf\xe9"')
        assert refusal(path) == ": not UTF-8 at byte 23 (line 2; expected text in UTF-8)"


def test_a_wrong_csv_is_named_by_its_record(tmp_path):
    path = tmp_path / "new.csv"
    cases = {
        'question,answer\n"two\nlines",1\nq,\n': "row 2: 'answer' is empty (expected the final answer as text)",
        "question,answer\nq,1,2\n": "row 1: has 3 cells (expected 2)",
        "question,answer\nq,1\n\n": "row 2: is blank (expected 2 cells)",
        "question,anser\nq,1\n": ": no 'answer', and no published layout: its fields are 'question', 'anser' "
        f"(expected question and answer; {MAPPING})",
        "question,answer,hint\nq,1,h\n": f"row 1: unknown field 'hint' ({KNOWN}; {MAPPING})",
        "question,answer,answer\nq,1,2\n": "header: field 'answer' is there twice",
        'question,answer\nq,"1\n': "row 1: not CSV: unexpected end of data",
        "question,answer,difficulty\nq,1,hard\n": "row 1: 'difficulty' is 'hard' (expected a whole number from 1",
        "question,answer\n": ": holds no rows (expected at least one problem)",
    }
    for text, message in cases.items():
        path.write_text(text, encoding="utf-8")
        assert refusal(path).startswith(message), text


def test_a_csv_from_a_spreadsheet_with_a_byte_order_mark_and_long_cells_is_read(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text(f"\ufeffquestion,answer,response\r\nq,1,{'x' * 200_000}\r\n", encoding="utf-8", newline="")
    assert read_problems(path) == [Problem(question="q", answer="1", response="x" * 200_000)]


def test_a_file_that_is_missing_empty_or_of_another_kind_is_refused(tmp_path):
    assert refusal(tmp_path / "none.jsonl") == ": no such file"
    assert refusal(tmp_path / "none.parquet") == ": no such file"
    assert refusal(tmp_path / "splits" / "train.parquet") == ": no such file (`dvc repro splits` makes it)"
    assert refusal(tmp_path / "problems" / "held_out.parquet") == (
        ": no such file "
        "(`sgpo problems import FILE --split held_out` puts your own there, `dvc repro world` the testbed's)"
    )
    assert refusal(tmp_path / "a.txt") == ": unsupported kind of file '.txt' (expected .parquet, .jsonl, .json or .csv)"
    for name in ("empty.jsonl", "empty.csv"):
        (tmp_path / name).write_bytes(b"")
        assert refusal(tmp_path / name) == ": holds no rows (expected at least one problem)"
    pq.write_table(pa.table({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}),
                   tmp_path / "empty.parquet")  # fmt: skip
    assert refusal(tmp_path / "empty.parquet") == ": holds no rows (expected at least one problem)"


def test_a_wrong_parquet_file_is_named_by_column_or_row(tmp_path):
    path = tmp_path / "new.parquet"
    pq.write_table(pa.table({"question": ["q", "r"], "answer": [True, False]}), path)
    assert refusal(path) == "row 1: 'answer' is True (expected the final answer as text)"
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xe9"))
    pq.write_table(pa.table({"question": ["q"], "answer": broken}), path)
    assert "not UTF-8" in refusal(path)
    twice = pa.Table.from_arrays([pa.array(["q"]), pa.array(["1"]), pa.array(["2"])], ["question", "answer", "answer"])
    pq.write_table(twice, path)
    assert refusal(path) == ": field 'answer' is there twice"
    pq.write_table(pa.table({"question": ["q", "r"], "answer": ["1", None]}), path)
    assert refusal(path) == "row 2: 'answer' is empty (expected the final answer as text)"
    pq.write_table(pa.table({"id": ["a", "a"], "question": ["q", "r"], "answer": ["1", "1"]}), path)
    assert "is already the id of row 1" in refusal(path)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    twice = [Problem(id="a", question="q", answer="1"), Problem(id="a", question="r", answer="2")]
    for some, name, message in (
        (twice, "a.parquet", "row 2: id 'a' is already the id of row 1"),
        ([], "a.parquet", "holds no rows"),
        (twice[:1], "a.jsonl", "expected a name that ends in .parquet"),
    ):
        with pytest.raises(ProblemFileError, match=message):
            write_problems(some, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
