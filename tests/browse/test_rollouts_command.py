"""Kept answers are listed, filtered and shown side by side, in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from sgpo.evaluation.answers import KeptAnswer, write_answers
from sgpo.problems.table import write_table
from sgpo.rollouts.schema import KeptRollout


def rollout(problem: str, group, reward: float, tokens: int, **changed) -> KeptRollout:
    whole = {
        "problem_id": problem, "group": group, "token_ids": (1,) * tokens, "logprobs": (-1.0,) * tokens,
        "text": f"{problem} {group} says", "finish_reason": "stop", "reward": reward, "seed": tokens, "policy_step": 0,
        "extracted": "5", "reason": "correct" if reward else "wrong", "question": f"How many are in {problem}?",
        "gold": "5",
    }  # fmt: skip
    return KeptRollout(**{**whole, **changed})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four rollouts of step 1, two of step 11, and an answer of each model to one held-out problem."""
    folder = tmp_path / "runs" / "one"
    (folder / "rollouts").mkdir(parents=True)
    (folder / "config.yaml").write_text("training: {steps: 11}\n")
    first = [
        rollout("alpha", "autonomous", 0.0, 4, text="<script>alert(1)</script> 7"),
        rollout("alpha", "guided", 1.0, 8),
        rollout("beta", "autonomous", 0.0, 20, finish_reason="length", reason="no_answer", extracted=None),
        rollout("beta", "guided", 0.0, 12, reason="no_answer", extracted=None, domain="code"),
    ]
    second = [rollout("alpha", "autonomous", 1.0, 6), rollout("alpha", "guided", 1.0, 7)]
    for step, rows in ((0, first), (10, second)):
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        (folder / "rollouts" / f"step-{step:06d}.jsonl").write_text(lines, encoding="utf-8")
    for who, reward in (("champion", 0.0), ("challenger", 1.0)):
        answer = KeptAnswer(
            "held", "t", "Held?", "9", 0, f"{who} says 9", "9", "correct" if reward else "wrong", "stop", reward, None,
            30, 1,
        )  # fmt: skip
        write_answers([answer], folder / "evaluation" / f"{who}.jsonl")
    return folder


def numbers(sgpo, run: Path, *options: str) -> list[int]:
    return [row["number"] for row in json.loads(sgpo("rollouts", str(run), *options, "--json", cwd=run).stdout)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [1, 2, 3, 4, 5, 6, 7, 8]), (("--problem", "alph"), [1, 2, 5, 6]), (("--problem", "in BETA"), [3, 4]),
        (("--verdict", "cut"), [3]), (("--verdict", "wrong"), [1, 4, 8]), (("--reason", "no_answer"), [3, 4]),
        (("--from", "step"), [1, 2, 3, 4, 5, 6]), (("--from", "step 11"), [5, 6]), (("--from", "champion"), [8]),
        (("--group", "guided", "--verdict", "right"), [2, 6]), (("--shortest", "12", "--longest", "20"), [3, 4]),
        (("--show", "8", "--show", "2"), [8, 2]),
    ],
)  # fmt: skip
def test_answers_are_filtered_and_keep_their_numbers(sgpo, run: Path, options: tuple[str, ...], expected) -> None:
    assert numbers(sgpo, run, *options) == expected


def test_a_source_that_no_answer_is_from_is_refused_with_those_that_there_are(sgpo, run: Path) -> None:
    for source in ("challanger", "step 2"):
        line = sgpo("rollouts", str(run), "--from", source, cwd=run).refusal()
        assert f"no answer is from '{source}' (expected one of: step 1, step 11, " in line


def test_the_list_says_why_in_the_words_of_the_domain(sgpo, run: Path) -> None:
    text = sgpo("rollouts", str(run), "--limit", "4", cwd=run).stdout
    (code,) = [line for line in text.splitlines() if line.lstrip().startswith("4 ")]
    assert re.search(r"4 +step 1 +with strategy +wrong +no fenced program, 12 tokens +How many are in beta\?", code)
    assert "cut at the limit, no boxed answer, 20 tokens" in text
    assert "8 answers: 4 right, 3 wrong, 1 cut; the first 4 are shown" in text


def test_two_answers_stand_side_by_side(sgpo, run: Path) -> None:
    text = sgpo("rollouts", str(run), "--show", "1", "--show", "2", cwd=run).stdout
    assert text.startswith("How many are in alpha?\n  gold: 5\n")
    assert any("<script>alert(1)</script> 7" in line and "alpha guided says" in line for line in text.splitlines())
    apart = sgpo("rollouts", str(run), "--show", "2", "--show", "7", cwd=run).stdout
    assert any("How many are in alpha?" in line and "Held?" in line for line in apart.splitlines())
    assert "no answer 9 (expected 1 to 8" in sgpo("rollouts", str(run), "--show", "9", cwd=run).refusal()


def test_the_page_has_all_that_was_asked_for_and_loads_nothing(sgpo, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "answers.html"
    assert "6 answers" in sgpo("rollouts", str(run), "--from", "step", "--html", str(page), cwd=run).stdout
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.count("<h4>") == 6
    assert "&lt;script&gt;alert(1)" in html
    assert not re.search(r"""<script|(?:src|href)=["'](?!data:)""", html)
    assert "default-src 'none'" in html


def test_an_answer_cannot_steer_the_terminal(sgpo, run: Path) -> None:
    file = run / "rollouts" / "step-000000.jsonl"
    row = rollout(
        "gamma", "autonomous", 1.0, 3, text="a\x1b]0;title\x07b\x9b2J", question="\x1b[2Jwhy?", extracted="\x1b[1m5"
    )
    file.write_text(json.dumps(asdict(row)) + "\n", encoding="utf-8")
    for options in ((), ("--show", "1")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", sgpo("rollouts", str(run), *options, cwd=run).stdout)
    assert "a\N{SYMBOL FOR ESCAPE}]0;title" in sgpo("rollouts", str(run), "--show", "1", cwd=run).stdout


def test_what_the_probe_kept_is_read_as_a_file(sgpo, tmp_path: Path) -> None:
    write_table([rollout("p", "guided", 1.0, 3)], tmp_path / "probe_rollouts.parquet")
    (row,) = json.loads(sgpo("rollouts", "probe_rollouts.parquet", "--json", cwd=tmp_path).stdout)
    assert (row["source"], row["verdict"], row["tokens"]) == ("probe", "right", 3)


def test_a_torn_line_and_an_older_row_cost_themselves_and_nothing_kept_is_an_error(sgpo, run: Path) -> None:
    file = run / "rollouts" / "step-000010.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    older = {name: row[name] for name in row if name not in ("question", "gold", "reason", "extracted", "domain")}
    file.write_text(json.dumps(older) + '\n{"text": "x"}\n{"problem_id": "al')
    ended = sgpo("rollouts", str(run), "--from", "step 11", cwd=run)
    assert "1 answer: 1 right" in ended.stdout
    assert "step-000010.jsonl: row 3 is not a JSON object" in ended.stdout
    assert "rollouts/: 1 are not as this version writes them" in ended.stdout
    # A file of other lines, and one that is not named after a step.
    other = file.with_name("step-mine.jsonl")
    other.write_text(json.dumps({**row, "reward": "much"}) + "\n" + json.dumps(row) + "\n")
    ended = sgpo("rollouts", str(other), cwd=run)
    assert "1 answer: 1 right" in ended.stdout
    assert "step-mine.jsonl: 1 are not as this version writes them" in ended.stdout
    other.rename(run / "metrics.jsonl")
    (run / "metrics.jsonl").write_text('{"step": 0}\n')
    assert "metrics.jsonl: 1 are not" in sgpo("rollouts", "metrics.jsonl", cwd=run).refusal()
    # A table of the evaluation that cannot be read.
    (run / "evaluation" / "champion.answers.parquet").write_bytes(b"torn")
    ended = sgpo("rollouts", str(run), cwd=run)
    assert "challenger" in ended.stdout
    assert re.search(r"evaluation/: .*champion.answers.parquet.*left out", ended.stdout)
    empty = run.parent / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text("{}")
    assert "no answers are kept" in sgpo("rollouts", str(empty), cwd=run).refusal()
    assert "no such file or folder" in sgpo("rollouts", "nowhere", cwd=run).refusal()
