"""Published layouts as strangers bring them: each gives the right gold, and what is wrong with a row is named."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgpo.problems import Problem, ProblemFileError, Verifier, read_problems
from sgpo.problems.layouts.mapping import FieldMapping
from sgpo.problems.sources import SourceReport, read_sources
from tests.problems.test_benchmarks import DATA, needs_data

DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)


def verl(question: str, answer: object, **fields: object) -> dict[str, object]:
    return {"data_source": "math_dapo", "prompt": [{"role": "user", "content": question}], "ability": "MATH",
            "reward_model": {"ground_truth": answer, "style": "rule"},
            "extra_info": {"index": "i"}, **fields}  # fmt: skip


def gsm8k(question: str, end: str) -> dict[str, str]:
    return {"question": question, "answer": f"It is <<48/2=24>>24 at first.\nThen it is more.\n#### {end}"}


BY_COLUMNS = {
    "gsm8k": (gsm8k("How many boxes?", "1,234"), {"question": "How many boxes?", "answer": "1234", "source": "gsm8k"}),
    "gsm8k negative": (gsm8k("How cold?", "-3"), {"answer": "-3", "source": "gsm8k"}),
    "gsm8k millions": (gsm8k("How much?", "1,234,567.5 "), {"answer": "1234567.5"}),
    "gsm8k socratic": (
        {"question": "How many?", "answer": "How many? ** 48/2=24\n#### 24"},
        {"answer": "24", "source": "gsm8k_socratic"},
    ),
    "svamp": (
        {"ID": "chal-1", "Body": "Each costs 76. There is 25 off", "Question": "How much?", "Equation": "( 76.0 )",
         "Answer": 51.0, "Type": "Subtraction"},
        {"id": "svamp/chal-1", "question": "Each costs 76. There is 25 off. How much?", "answer": "51"},
    ),
    "asdiv": (
        {"body": "Seven red and two green apples are there.", "question": "How many apples?", "answer": "9 (apples)",
         "solution_type": "Addition", "formula": "7+2=9"},
        {"question": "Seven red and two green apples are there. How many apples?", "answer": "9", "unit": "apples"},
    ),
    "asdiv, several": (
        {"body": "b", "question": "q", "answer": "3 (boys); 4 (girls)", "formula": "x"},
        {"answer": "3, 4", "multiple": True, "unit": None},
    ),
    "math": (
        {"problem": "p", "level": "Level 4", "type": "Algebra", "solution": "$\\boxed{1}$ or $\\boxed{\\frac{1}{2}}$."},
        {"question": "p", "answer": "\\frac{1}{2}", "difficulty": 4, "source": "math", "response": None},
    ),
    "math, no level": (
        {"problem": "p", "level": "Level ?", "type": "Geometry", "solution": "\\boxed{2}"},
        {"answer": "2", "difficulty": None},
    ),
    "math500": (
        {"problem": "p", "answer": "2", "level": "Level 3", "unique_id": "a/1.json", "subject": "Algebra"},
        {"id": "math500/a/1.json", "difficulty": 3},
    ),
    "metamath": (
        {"query": "What is 1+1?", "response": "It is 1+1.\nThe answer is: 2", "type": "GSM", "original_question": "x"},
        {"question": "What is 1+1?", "answer": "2", "source": "metamath", "response": None},
    ),
    "openr1": (
        {"problem": "p", "solution": "s", "answer": "2", "uuid": "u1", "source": "olympiads",
         "generations": ["<think>no</think> \\boxed{3}", "<think>yes</think> \\boxed{2}"],
         "correctness_math_verify": [False, True]},
        {"id": "openr1/u1", "answer": "2", "response": "<think>yes</think> \\boxed{2}", "source": "openr1"},
    ),
    "deepmath": (
        {"question": "q", "final_answer": "2", "difficulty": 4.5, "topic": "t", "r1_solution_1": "so \\boxed{2}"},
        {"answer": "2", "difficulty": 4, "response": "so \\boxed{2}", "source": "deepmath"},
    ),
    "dapo": (verl(DAPO.format("2+3?"), "5"), {"question": "2+3?", "answer": "5", "source": "math_dapo"}),
    "verl with a system message": (
        verl("", 72, prompt=[{"role": "system", "content": "Think."}, {"role": "user", "content": "How many?"}]),
        {"question": "How many?", "answer": "72"},
    ),
    "verl's gsm8k": (
        verl('How many? Let\'s think step by step and output the final answer after "####".', "72"),
        {"question": "How many?", "answer": "72"},
    ),
    "luffy": (
        verl("q", "2", target=[{"role": "assistant", "content": "<think>1+1</think> \\boxed{2}"}]),
        {"question": "q", "answer": "2", "response": "<think>1+1</think> \\boxed{2}"},
    ),
    "slime": (
        {"prompt": [{"role": "user", "content": DAPO.format("q")}], "label": "34"}, {"question": "q", "answer": "34"}
    ),
    "dapo, flattened": ({"question": DAPO.format("q"), "answer": "34"}, {"question": "q", "answer": "34"}),
    "aime25": ({"problem": "p", "answer": "025", "id": "0"}, {"id": "aime25/0", "answer": "25"}),
    "aime24, padded": (
        {"id": 60, "problem": "p", "answer": "025", "solution": "s", "url": "u"}, {"id": "aime24/60", "answer": "25"}
    ),
    "aime of 2025": (
        {"id": 1, "problem": "p", "answer": "70", "solution": "s", "url": "u", "year": "2025"}, {"id": "aime25/1"}
    ),
    "problem and answer": (
        {"problem": "p", "answer": "x^2", "solution": "s"}, {"question": "p", "answer": "x^2", "source": None}
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".JSONL", ".parquet"])
@pytest.mark.parametrize("name", BY_COLUMNS)
def test_a_layout_is_recognised_by_its_columns(name: str, suffix: str, tmp_path: Path) -> None:
    row, expected = BY_COLUMNS[name]
    path = tmp_path / f"any{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps([row]) if suffix == ".json" else json.dumps(row) + "\n", encoding="utf-8")
    (problem,) = read_problems(path)
    assert {field: getattr(problem, field) for field in expected} == expected


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **mapping: str) -> tuple[list[Problem], SourceReport]:
    problems, (report,) = read_sources([path], FieldMapping(**mapping) if mapping else None)
    return problems, report


def refusal(path: Path, **mapping: str) -> str:
    with pytest.raises(ProblemFileError) as refused:
        read(path, **mapping)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(str(path)).strip()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([gsm8k("q", "1"), {"question": "r", "answer": "2"}], "row 2: 'answer' is '2' (expected a solution that ends"),
        ([{"query": "q", "response": "It is two."}], "row 1: 'response' is 'It is two.' (expected an end such as"),
        ([{"problem": "p", "level": 1, "type": "t", "solution": "2"}], "row 1: 'solution' is '2' (expected one with"),
        ([verl("q", None)], "row 1: 'reward_model' is {'ground_truth': None, 'style': 'rule'} (expected"),
        ([verl("q", "2", ability="code")], "row 1: 'ability' is 'code' (expected math: an answer is judged as"),
        ([verl("q", "2", prompt=[{"role": "user", "content": c} for c in "ab"])], "row 1: 'prompt' has 2 messages of"),
        ([verl("q", "2", prompt=7)], "row 1: 'prompt' is 7 (expected text, or chat messages with role and content)"),
        ([verl("q", "2"), {"prompt": None}], "row 2: 'prompt' is missing (every row of verl has it)"),
        ([verl("q", float("nan"))], "row 1: 'reward_model.ground_truth' is nan (expected the final answer as text"),
        ([{"ID": "1", "Body": 3, "Question": "q", "Answer": 1}], "row 1: 'Body' is 3 (expected text)"),
    ],
)  # fmt: skip
def test_a_wrong_row_of_a_published_layout_is_named(rows, message, tmp_path: Path) -> None:
    assert refusal(jsonl(tmp_path / "a.jsonl", *rows)).startswith(message)


def test_repeated_rows_are_merged_and_counted(tmp_path: Path) -> None:
    rows = [verl(DAPO.format(q), a) for q, a in (("What is 2+3?", "5"), ("What is 10-17?", "-7")) for _ in range(4)]
    problems, report = read(jsonl(tmp_path / "dapo.jsonl", *rows))
    assert [(problem.question, problem.answer) for problem in problems] == list(report.examples)
    assert report.lines() == [
        f"{tmp_path}/dapo.jsonl: read as verl: 8 rows, 6 repeated ones merged; not used: extra_info",
        '  "What is 2+3?" -> "5"',
        '  "What is 10-17?" -> "-7"',
    ]


def test_fields_can_be_named_down_into_records_and_solutions(tmp_path: Path) -> None:
    row = {
        "key": 7,
        "ask": [{"role": "user", "content": "What is 1+1?"}],
        "gold": {"worked": "So \\boxed{2}."},
        "r": "x",
    }
    path = jsonl(tmp_path / "a.jsonl", row)
    assert refusal(path) == (
        ": no 'question', and no published layout: its fields are 'key', 'ask', 'gold', 'r' "
        "(expected question and answer; `sgpo problems import` takes any with --question FIELD --answer FIELD)"
    )
    (problem,), _ = read(path, question="ask", answer="gold.worked", response="r", id="key")
    assert problem == Problem(id="7", question="What is 1+1?", answer="2", response="x")
    assert read(path, question="ask", answer="gold.worked")[1].left_out == ("key", "r")
    assert refusal(path, question="aks", answer="gold.worked").startswith(
        ": no field 'aks' (did you mean 'ask'? its fi"
    )
    assert refusal(path, question="ask", answer="gold.none").startswith(
        ": no field 'gold.none' (did you mean 'gold'? its"
    )
    empty = jsonl(tmp_path / "b.jsonl", row, {**row, "gold": {}})
    assert refusal(empty, question="ask", answer="gold.worked").startswith("row 2: 'answer' is empty")
    marked = jsonl(tmp_path / "c.jsonl", {"q": "How many?", "a": "24\n#### 1,024", "more": 1})
    assert read(marked, question="q", answer="a")[0] == [Problem(question="How many?", answer="1024")]


@needs_data
def test_the_real_svamp_is_read_whole() -> None:
    problems, report = read(DATA / "svamp.json")
    assert (report.layout, report.rows) == ("svamp", 1000)
    assert problems[0].answer == "51"
    assert problems[0].question.startswith(
        "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on"
    )
    assert all(problem.answer.lstrip("-").replace(".", "", 1).isdigit() for problem in problems)


@pytest.mark.slow
def test_every_gold_that_is_read_verifies_in_a_box(tmp_path: Path) -> None:
    golds = [read_problems(jsonl(tmp_path / "a.jsonl", row))[0] for row, _ in BY_COLUMNS.values()]
    with Verifier() as verifier:
        verdicts = verifier.score_many([(f"\\boxed{{{problem.answer}}}", problem) for problem in golds])
    assert all(verdict.correct for verdict in verdicts)
