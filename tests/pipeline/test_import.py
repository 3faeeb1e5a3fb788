"""Problems of one's own: in the place of the testbed's, in one split each, and safe from the stage that made those."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgpo.config.testbed import WorldConfig
from sgpo.pipeline.imports import ProblemImportError, import_problems
from sgpo.problems import Problem, ProblemFileError, read_problems, write_problems
from sgpo.problems.table import read_table
from sgpo.strategies.schema import StrongResponse
from sgpo.testbed.world import build_split

OWN = [Problem(question=f"How many legs have {count} spiders?", answer=str(8 * count)) for count in range(2, 8)]


def as_jsonl(path: Path, problems: list[Problem]) -> Path:
    rows = [{"question": problem.question, "answer": problem.answer} for problem in problems]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_csv(path: Path, problems: list[Problem]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("question", "answer"), *((p.question, p.answer) for p in problems)])
    return path


def as_parquet(path: Path, problems: list[Problem]) -> Path:
    write_problems(problems, path)
    return path


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_every_layout_gives_the_same_file(tmp_path: Path, write: Callable[[Path, list[Problem]], Path]) -> None:
    source = write(tmp_path / f"new.{write.__name__[3:]}", OWN)
    lines = import_problems([source], tmp_path / "data", "train").lines()
    write_problems(OWN, tmp_path / "expected.parquet")
    target = tmp_path / "data" / "problems" / "train.parquet"
    assert target.read_bytes() == (tmp_path / "expected.parquet").read_bytes()
    assert lines == [
        f"{source}: read as question and answer: 6 rows",
        *(f'  "{problem.question}" -> "{problem.answer}"' for problem in OWN[:3]),
        f"{target}: 6 problems",
        f"{target.parent}: train 6; no tuning, held_out",
    ]


def test_a_bad_row_leaves_what_was_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    import_problems([as_jsonl(tmp_path / "new.jsonl", OWN)], data, "train")
    before = (data / "problems" / "train.parquet").read_bytes()
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "q", "answer": "1"}\n{"question": "q"}\n', encoding="utf-8")
    with pytest.raises(ProblemFileError, match=r"bad\.jsonl row 2: 'answer' is missing"):
        import_problems([bad], data, "train", force=True)
    assert [file.name for file in (data / "problems").iterdir()] == ["train.parquet"]
    assert (data / "problems" / "train.parquet").read_bytes() == before


def test_problems_that_are_there_are_replaced_only_when_asked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    import_problems([as_jsonl(tmp_path / "one.jsonl", OWN[:3])], data, "train")
    with pytest.raises(ProblemImportError, match=r"train\.parquet: is there already \(expected .* --force to replace"):
        import_problems([as_jsonl(tmp_path / "two.jsonl", OWN)], data, "train")
    assert read_problems(data / "problems" / "train.parquet") == OWN[:3]
    import_problems([tmp_path / "two.jsonl"], data, "train", force=True)
    assert read_problems(data / "problems" / "train.parquet") == OWN


def test_a_problem_belongs_to_one_split(tmp_path: Path) -> None:
    data = tmp_path / "data"
    import_problems([as_jsonl(tmp_path / "held.jsonl", OWN[:3])], data, "held_out")
    with pytest.raises(ProblemFileError) as caught:
        import_problems([as_jsonl(tmp_path / "all.jsonl", OWN)], data, "train")
    assert str(caught.value) == (
        f"{tmp_path}/all.jsonl: problem '{OWN[0].id}' is in {data}/problems/held_out.parquet too, as '{OWN[0].id}', "
        "and 2 more are (expected every id and every question in one file and one split)"
    )
    assert not (data / "problems" / "train.parquet").exists()


@pytest.mark.parametrize(
    "same",
    [
        Problem(id="other", question=f"  {OWN[0].question.upper().replace(' ', '  ')} ", answer="16.0"),
        Problem(id=OWN[0].id, question="Another question?", answer="1"),
    ],
)
def test_the_same_question_or_id_is_found_whatever_its_spacing(tmp_path: Path, same: Problem) -> None:
    data = tmp_path / "data"
    import_problems([as_jsonl(tmp_path / "held.jsonl", OWN[:1])], data, "held_out")
    write_problems([same], tmp_path / "train.parquet")
    with pytest.raises(ProblemFileError, match=f"problem '{same.id}' is in .*held_out.parquet too, as '{OWN[0].id}'"):
        import_problems([tmp_path / "train.parquet"], data, "train")


def test_files_of_one_import_share_questions_only_with_the_same_answer(tmp_path: Path) -> None:
    one, two = as_jsonl(tmp_path / "one.jsonl", OWN[:4]), as_jsonl(tmp_path / "two.jsonl", OWN[2:])
    lines = import_problems([one, two], tmp_path / "data", "train").lines()
    assert f"{two}: read as question and answer: 4 rows, 2 repeated ones merged" in lines
    assert read_problems(tmp_path / "data" / "problems" / "train.parquet") == OWN
    other = as_jsonl(tmp_path / "other.jsonl", [Problem(question=f"{OWN[1].question}  ", answer="7")])
    with pytest.raises(ProblemFileError) as caught:
        import_problems([one, other], tmp_path / "data", "train", force=True)
    assert str(caught.value) == (
        f"{other} row 1: the question of {one} row 2 has the answer '24' there and '7' here "
        "(expected one answer to one question)"
    )


def test_a_layout_nobody_knows_is_mapped_by_the_command(sgpo, tmp_path: Path) -> None:
    rows = [{"key": n, "ask": problem.question, "gold": problem.answer, "r1": "r"} for n, problem in enumerate(OWN)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ("problems", "import", "new.jsonl", "--split", "train")
    assert sgpo(*command, cwd=tmp_path).refusal() == (
        "ProblemFileError: new.jsonl: no 'question', and no published layout: its fields are 'key', 'ask', 'gold', 'r1'"
        " (expected question and answer; `sgpo problems import` takes any with --question FIELD --answer FIELD)"
    )
    assert "expected --question FIELD and --answer FIELD" in sgpo(*command, "--answer", "gold", cwd=tmp_path).refusal()
    names = ("--question", "ask", "--answer", "gold", "--response", "r1", "--id", "key")
    assert sgpo(*command, *names, cwd=tmp_path).stdout.splitlines()[:2] == [
        "new.jsonl: read as the fields named: 6 rows",
        f'  "{OWN[0].question}" -> "{OWN[0].answer}"',
    ]
    expected = [problem.model_copy(update={"id": str(n), "response": "r"}) for n, problem in enumerate(OWN)]
    assert read_problems(tmp_path / "data" / "problems" / "train.parquet") == expected


def test_a_program_is_told_the_counts_and_a_dry_run_writes_nothing(sgpo, tmp_path: Path) -> None:
    as_jsonl(tmp_path / "new.jsonl", [*OWN, OWN[0]])
    command = ("problems", "import", "new.jsonl", "--split", "train", "--json")
    foretold = json.loads(sgpo(*command, "--dry-run", cwd=tmp_path).stdout)
    assert foretold["writes"] == "data/problems/train.parquet"
    assert "data/problems/train.parquet: 6 problems" in foretold["says"]
    assert not (tmp_path / "data").exists()
    told = json.loads(sgpo(*command, cwd=tmp_path).stdout)
    assert (told["file"], told["problems"], told["splits"]) == ("data/problems/train.parquet", 6, {"train": 6})
    (source,) = told["sources"]
    assert (source["file"], source["rows"], source["merged"]) == ("new.jsonl", 7, 1)
    assert (tmp_path / "data" / "problems" / "train.parquet").is_file()
    assert "is there already" in sgpo(*command, "--dry-run", cwd=tmp_path).refusal()


def test_the_command_names_what_is_wrong_in_one_line(sgpo, tmp_path: Path) -> None:
    line = sgpo("problems", "import", "no.jsonl", "--split", "train", cwd=tmp_path).refusal()
    assert line == "ProblemFileError: no.jsonl: no such file"
    as_jsonl(tmp_path / "new.jsonl", OWN)
    done = sgpo("problems", "import", "new.jsonl", "--split", "held_out", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "new.jsonl: read as question and answer: 6 rows"
    assert "data/problems/held_out.parquet: 6 problems" in done.stdout.splitlines()
    line = sgpo("problems", "import", "new.jsonl", "--split", "held_out", cwd=tmp_path).refusal()
    assert line.startswith("ProblemImportError: data/problems/held_out.parquet: is there already")


@pytest.mark.slow
@pytest.mark.long
def test_with_dvc_the_stage_goes_and_the_problems_stay(
    tmp_path: Path, make_checkout: Callable[[Path, dict[str, Any]], Any]
) -> None:
    checkout = make_checkout(tmp_path / "checkout", {"world": {"train": 3, "tuning": 1, "held_out": 1}})
    checkout.dvc("repro", "world")
    checkout.commit("testbed")
    problems = checkout.folder / "data" / "problems"
    # The scripted teacher reads only questions of its world: these are such, of another seed.
    own = build_split(WorldConfig(seed=7, train=6), "train")
    as_jsonl(checkout.folder / "own.jsonl", own)
    as_jsonl(checkout.folder / "test.jsonl", OWN)

    refusal = checkout.sgpo("problems", "import", "own.jsonl", "--split", "train", "--force", returncode=1)
    assert refusal == (
        "ProblemImportError: data/problems: the DVC stage 'world' makes it and would overwrite your problems "
        "(run `dvc remove --outs world` first; it also removes the stage's files)\n"
    )
    checkout.dvc("remove", "--outs", "world")
    assert not problems.exists()
    checkout.sgpo("problems", "import", "own.jsonl", "--split", "train")
    said = checkout.sgpo("problems", "import", "test.jsonl", "--split", "held_out")
    assert "`dvc add data/problems` has DVC record this version" in said
    checkout.dvc("add", "data/problems")
    checkout.dvc("repro", "responses")
    checkout.commit("own")
    questions = [problem.question for problem in read_problems(problems / "train.parquet")]
    assert questions == [problem.question for problem in own]
    answered = read_table(checkout.folder / "data" / "responses.parquet", StrongResponse)
    assert [row.problem_id for row in answered] == [problem.id for problem in own]

    as_jsonl(checkout.folder / "own.jsonl", own[:4])
    said = checkout.sgpo("problems", "import", "own.jsonl", "--split", "train", "--force")
    assert said.splitlines()[-1] == "`dvc repro` and `dvc add` record the new version"
    checkout.dvc("repro", "responses")
    assert len(read_table(checkout.folder / "data" / "responses.parquet", StrongResponse)) == 4
    checkout.commit("fewer")
    checkout.git("checkout", "--quiet", "own")
    checkout.dvc("checkout", "--with-deps", "responses")
    assert [problem.question for problem in read_problems(problems / "train.parquet")] == questions
