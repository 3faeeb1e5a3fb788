"""`sgpo strategies list, show, families, diff, report, retrieve`: what is printed, and one line for bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from banks import asked_bank

from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.strategies.bank import band_of
from sgpo.strategies.refusals import RefusedText
from sgpo.strategies.view.families import find_families

PROBLEMS, STRATEGIES, PLANS = asked_bank(40)
REFUSED = RefusedText(
    problem_id=PROBLEMS[0].id, stage="candidate", index=2, reason="states_answer", detail="states the final answer '7'"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workplace with the data of an extraction."""
    workplace = tmp_path_factory.mktemp("made")
    data = workplace / "data"
    write_problems(PROBLEMS, data / "problems" / "train.parquet")
    write_table(STRATEGIES, data / "strategies.parquet")
    (data / "strategies_refused.jsonl").write_text(REFUSED.model_dump_json() + "\n", encoding="utf-8")
    return workplace


def test_the_list_has_the_best_first_and_ends_with_the_count(sgpo, made):
    lines = sgpo("strategies", "list", "--limit", "0", cwd=made).stdout.splitlines()
    ranked = sorted(STRATEGIES, key=lambda strategy: (-strategy.score, strategy.problem_id))
    assert [line.split()[0] for line in lines[1:-1]] == [strategy.problem_id for strategy in ranked]
    assert lines[-1] == "40 strategies"
    assert sgpo("strategies", "list", cwd=made).stdout.splitlines()[-1] == "20 of 40 strategies"


def test_the_list_is_filtered_by_band_words_and_family(sgpo, made):
    def found(*arguments: str) -> set[str]:
        lines = sgpo("strategies", "list", "--limit", "0", *arguments, cwd=made).stdout.splitlines()
        return {line.split()[0] for line in lines[1:-1]}

    assert found("--band", "low") == {s.problem_id for s in STRATEGIES if band_of(s.score) == "low"}
    assert found("--text", "REVERSE swing to") == {
        name for name, plan in PLANS.items() if plan == "Reverse swing to the rim"
    }
    largest = find_families(STRATEGIES)[0]
    assert found("--family", largest.id[:6]) == set(largest.members)


def test_families_are_listed_largest_first(sgpo, made):
    families = find_families(STRATEGIES)
    lines = sgpo("strategies", "families", "--limit", "0", cwd=made).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [[f.id, str(len(f.members))] for f in families]
    assert lines[-1] == f"{len(families)} families of 40 strategies"
    one = sgpo("strategies", "families", "--threshold", "0.01", cwd=made).stdout.splitlines()
    assert int(one[1].split()[1]) > len(families[0].members)


def test_a_problem_is_shown_with_its_strategy_and_what_was_refused(sgpo, made):
    shown = sgpo("strategies", "show", PROBLEMS[0].id[:10], cwd=made).stdout
    assert f"Problem   {PROBLEMS[0].id}" in shown
    assert STRATEGIES[0].approach in shown
    assert "candidate 2: states_answer, states the final answer '7'" in shown


def test_a_program_gets_the_same_as_a_person_and_all_of_it(sgpo, made, tmp_path):
    def told(*arguments: str):
        return json.loads(sgpo("strategies", *arguments, "--json", cwd=made).stdout)

    ranked = sorted(STRATEGIES, key=lambda strategy: (-strategy.score, strategy.problem_id))
    listed = told("list")
    assert [row["problem_id"] for row in listed] == [strategy.problem_id for strategy in ranked]
    assert {key: value for key, value in listed[0].items() if key != "band"} == ranked[0].model_dump(mode="json")
    assert [row["band"] for row in listed] == [band_of(strategy.score) for strategy in ranked]
    assert told("list", "--limit", "3") == listed[:3]
    low = [row for row in listed if row["band"] == "low"]
    assert told("list", "--band", "low") == low

    families = find_families(STRATEGIES)
    assert [(row["id"], row["members"]) for row in told("families")] == [(f.id, list(f.members)) for f in families]

    shown = told("show", PROBLEMS[0].id[:10])
    assert shown["problem"]["question"] == PROBLEMS[0].question
    assert shown["strategy"]["approach"] == STRATEGIES[0].approach
    assert PROBLEMS[0].id in shown["family"]["members"]
    assert [refusal["reason"] for refusal in shown["refused"]] == ["states_answer"]

    other = STRATEGIES[0].model_copy(update={"approach": "Another way."})
    write_table([other, *STRATEGIES[1:-1]], tmp_path / "old.parquet")
    diff = told("diff", str(tmp_path / "old.parquet"))
    assert (diff["added"], diff["removed"], diff["unchanged"]) == ([STRATEGIES[-1].problem_id], [], 38)
    ((name, fields, old),) = [(one["problem_id"], one["fields"], one["old"]["approach"]) for one in diff["changed"]]
    assert (name, fields, old) == (other.problem_id, ["approach"], "Another way.")

    matches = told("retrieve", PROBLEMS[0].question, "-k", "2")
    assert len(matches) == 2
    assert matches[0]["similarity"] >= matches[1]["similarity"]

    report = told("report", "--output", str(tmp_path / "report"))
    assert (report["strategies"], report["families"]) == (40, len(families))
    assert report["bands"]["low"] == pytest.approx(len(low) / 40)
    assert report["refusals"][0]["reason"] == "states_answer"
    assert Path(report["page"]).is_file()


def test_two_files_are_compared(sgpo, made, tmp_path):
    write_table(STRATEGIES[:-1], tmp_path / "old.parquet")
    assert sgpo("strategies", "diff", str(tmp_path / "old.parquet"), cwd=made).stdout.splitlines() == [
        "1 added, 0 removed, 0 changed (0 in wording), 39 unchanged", f"+ {STRATEGIES[-1].problem_id}",
    ]  # fmt: skip


def test_the_report_is_written_where_asked_and_names_its_source(sgpo, made, tmp_path):
    lines = sgpo("strategies", "report", "--output", str(tmp_path / "report"), cwd=made).stdout.splitlines()
    page, picture = map(Path, lines)
    assert (page, picture) == (tmp_path / "report" / "report.html", tmp_path / "report" / "report.png")
    assert "data/strategies.parquet, md5 " in page.read_text(encoding="utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_strategies_are_retrieved_for_a_question(sgpo, made):
    output = sgpo("strategies", "retrieve", PROBLEMS[0].question, "-k", "2", cwd=made).stdout
    first, second = output.strip().split("\n\n")
    assert first.startswith("similarity 0.")
    assert f"Strategy: {PLANS[PROBLEMS[0].id]}," in first
    assert second.splitlines()[1:] != first.splitlines()[1:]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("list", "--family", "no"), "ListingError: no family 'no' (expected the id, or its beginning, of one of "),
        (("show", "no"), "ListingError: no problem 'no' (expected the id, or its beginning, of one of 40)"),
        (("families", "--threshold", "1.5"), "FamilyError: threshold is 1.5 (expected a cosine above 0, at most 1)"),
        (("diff", "no.parquet"), "VersionError: no.parquet: no such file (expected a Parquet file or a git revision)"),
        (("diff", "HEAD"), "VersionError: data/strategies.parquet: not in a DVC repository (expected one, to look up "),
    ],
)
def test_what_is_not_there_is_named_in_one_line(sgpo, made, arguments, expected):
    assert sgpo("strategies", *arguments, cwd=made).refusal().startswith(expected)


def test_a_bad_revision_is_named_in_one_line(sgpo, tmp_path):
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [*git, "commit", "-q", "--allow-empty", "-m", "one"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    write_table(STRATEGIES, tmp_path / "data" / "strategies.parquet")
    line = sgpo("strategies", "diff", "v9", cwd=tmp_path).refusal()
    assert line == "VersionError: 'v9' is no file and no git revision (expected a tag, commit or file)"


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("list",), "strategies.parquet"),
        (("show", PROBLEMS[0].id), "strategies.parquet"),
        (("show", PROBLEMS[0].id), "strategies_refused.jsonl"),
        (("show", PROBLEMS[0].id), "problems/train.parquet"),
        (("families",), "strategies.parquet"),
        (("report",), "strategies.parquet"),
        (("report",), "strategies_refused.jsonl"),
        (("retrieve", "How many?"), "strategies.parquet"),
        (("retrieve", "How many?"), "problems/train.parquet"),
    ],
)
def test_a_missing_file_is_named_in_one_line(sgpo, made, tmp_path, arguments, missing):
    shutil.copytree(made / "data", tmp_path / "data")
    (tmp_path / "data" / missing).unlink()
    assert f"data/{missing}: no such file" in sgpo("strategies", *arguments, cwd=tmp_path).refusal()
    assert not (tmp_path / "runs").exists()


def test_a_damaged_refusals_file_is_named_with_its_line(sgpo, made, tmp_path):
    shutil.copytree(made / "data", tmp_path / "data")
    (tmp_path / "data" / "strategies_refused.jsonl").write_text(json.dumps({"problem_id": "a"}) + "\n")
    line = sgpo("strategies", "report", cwd=tmp_path).refusal()
    assert line.startswith("RefusalFileError: data/strategies_refused.jsonl line 1: not a refusal")
