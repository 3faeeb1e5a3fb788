"""A recorded strong model: read with a line for every mistake, and replayed through the path of an endpoint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sgpo.config.pipeline import PipelineParams
from sgpo.errors import UserError
from sgpo.pipeline import stages
from sgpo.problems import Problem, write_problems
from sgpo.problems.sources import read_sources
from sgpo.problems.table import read_table
from sgpo.strategies.refusals import read_refusals
from sgpo.strategies.schema import Strategy, StrongResponse
from sgpo.strategies.teacher.recording import RecordingError, read_recording

WORDS = Path(__file__).resolve().parents[2] / "data" / "word_problems"
TOPICS = ("goats", "boats", "coats", "moats", "notes")


def candidate(topic: str) -> dict[str, Any]:
    steps = [f"Find the {topic} at the start.", f"Put the {topic} together."]
    return {"problem_type": f"Counting {topic}", "strategy": f"Add the {topic} of both kinds.", "steps": steps}


def record(name: str = "a", **changes: Any) -> dict[str, Any]:
    scores = [
        {"problem_type": 0.5, "strategy": 0.5, "steps": place / 10, "no_leak": 1.0} for place in range(len(TOPICS))
    ]
    candidates = [candidate(topic) for topic in TOPICS]
    return {"id": name, "response": "It is \\boxed{7}.", "candidates": candidates, "scores": scores} | changes


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in records), encoding="utf-8")
    return path


class Place:
    """A data folder with problems, and what the strong model's stages make of a recording."""

    def __init__(self, folder: Path, problems: list[Problem]) -> None:
        self.folder = folder
        write_problems(problems, folder / "data" / "problems" / "train.parquet")

    def run(self, recording: Path, **strategies: Any) -> None:
        teacher = {"kind": "recorded", "model": "a strong one", "recording": recording}
        params = PipelineParams.model_validate({"teacher": teacher, "strategies": strategies})
        stages.respond(params, self.folder / "data", self.folder / "work")
        stages.extract(params, self.folder / "data", self.folder / "work")

    def strategies(self) -> dict[str, Strategy]:
        return {row.problem_id: row for row in read_table(self.folder / "data" / "strategies.parquet", Strategy)}

    def refused(self, what: str) -> list[tuple[str, str, int | None]]:
        rows = read_refusals(self.folder / "data" / f"{what}_refused.jsonl")
        return [(row.problem_id, row.reason, row.index) for row in rows]


def problem(name: str) -> Problem:
    return Problem(id=name, question=f"Herd {name} has 3 goats and 4 more. How many?", answer="7")


def test_the_best_scored_candidate_is_kept_with_its_scores(tmp_path: Path) -> None:
    place = Place(tmp_path, [problem("a"), problem("b")])
    as_text = "Problem type: Herds\nStrategy: Add both parts.\nSteps:\n1. Find the parts.\n2. Add them."
    mixed = record("b", candidates=[*(candidate(topic) for topic in TOPICS[:4]), as_text])
    place.run(write(tmp_path / "r.jsonl", record("a"), mixed))
    found = place.strategies()
    assert found["a"].approach == "Add the notes of both kinds."  # the last has the highest score of its steps
    assert found["a"].scores == {"problem_type": 0.5, "strategy": 0.5, "steps": 0.4, "no_leak": 1.0}
    assert (found["b"].problem_type, found["b"].teacher) == ("Herds", "a strong one")
    responses = read_table(tmp_path / "data" / "responses.parquet", StrongResponse)
    assert [(row.text, row.attempt) for row in responses] == [("It is \\boxed{7}.", 1)] * 2


def test_a_leak_a_repetition_and_a_candidate_that_cannot_be_read_are_refused_and_the_ranking_fits_the_rest(
    tmp_path: Path,
) -> None:
    leaking = {**candidate("oats"), "steps": ["Find both parts.", "Add them, which makes 7."]}
    rows = [candidate("goats"), leaking, candidate("goats"), "I would just add.", candidate("coats")]
    place = Place(tmp_path, [problem("a")])
    place.run(write(tmp_path / "r.jsonl", record("a", candidates=rows)))
    assert [(reason, index) for _, reason, index in place.refused("strategies")] == [
        ("states_answer", 2), ("near_duplicate", 3), ("not_a_strategy", 4),
    ]  # fmt: skip
    assert place.strategies()["a"].approach == "Add the coats of both kinds."
    assert place.strategies()["a"].scores["steps"] == 0.4


def test_records_and_problems_that_do_not_meet_are_counted_with_a_reason(tmp_path: Path) -> None:
    place = Place(tmp_path, [*(problem(f"none-{number}") for number in range(8)), problem("a")])
    wrong = record("none-7", response="It is \\boxed{8}.")
    place.run(write(tmp_path / "r.jsonl", record("elsewhere"), record("a"), wrong), tries=2)
    assert set(place.strategies()) == {"a"}
    reasons = Counter(reason for _, reason, _ in place.refused("responses"))
    # Two tries each for seven problems without a record; one wrong response, and no other for the second try.
    assert reasons == {"no_record": 2 * 7 + 1, "wrong_answer": 1, "no_response": 8}
    assert place.refused("strategies") == [("elsewhere", "no_problem", None)]
    assert json.loads((tmp_path / "data" / "strategies.json").read_text())["refused"] == {"no_problem": 1}


def test_a_changed_recording_is_read_and_not_remembered(tmp_path: Path) -> None:
    place = Place(tmp_path, [problem("a")])
    place.run(write(tmp_path / "r.jsonl", record("a")))
    place.run(write(tmp_path / "r.jsonl", record("a", candidates=[candidate(name) for name in "vwxyz"])))
    assert place.strategies()["a"].approach == "Add the z of both kinds."


def test_the_projects_recording_gives_the_same_strategies_everywhere(tmp_path: Path) -> None:
    problems = read_sources([WORDS / "train.jsonl"])[0][:40]
    place = Place(tmp_path, problems)
    place.run(WORDS / "strong_model.jsonl")
    found = place.strategies()
    assert set(found) == {row.id for row in problems}
    best = {row["id"]: row for row in map(json.loads, (WORDS / "strong_model.jsonl").read_text().splitlines())}
    for name, strategy in found.items():  # by the file alone: the candidate whose four scores have the highest mean
        means = [sum(scores.values()) / 4 for scores in best[name]["scores"]]
        chosen = best[name]["candidates"][means.index(max(means))]
        assert (strategy.problem_type, strategy.approach) == (chosen["problem_type"], chosen["strategy"])
    first = (tmp_path / "data" / "strategies.parquet").read_bytes()
    again = Place(tmp_path / "again", problems)
    again.run(WORDS / "strong_model.jsonl")
    assert (tmp_path / "again" / "data" / "strategies.parquet").read_bytes() == first
    text = json.dumps([row.model_dump() for row in found.values()], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "f4ebe7d9249cce15df5a084b0bb13b51c52eecb1f630a37fbc053c5017899698"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"candidates": record()["candidates"][:3]}, r"row 2: 'candidates' has 3 entries \(expected 5, as strategies"),
        ({"scores": record()["scores"][:4]}, r"row 2: 'scores' has 4 entries \(expected 5, one for each candidate"),
        ({"id": "z"}, r"row 2: 'id' is 'z', as in row 1 \(expected one record for a problem"),
        ({"id": 7}, r"row 2: 'id' is 7 \(expected the id of a problem, as text"),
        ({"candidate": []}, r"row 2: unknown field 'candidate' \(known fields: id, response, candidates, scores"),
        ({"response": ["x"]}, r"row 2: 'response' is .* \(expected a full response as text, or nothing"),
        ({"candidates": "five"}, r"row 2: 'candidates' is 'five' \(expected a list of strategies"),
        (
            {"candidates": [*record()["candidates"][:4], {"problem_type": "t", "strategy": "s"}]},
            r"row 2: 'candidates\[5\]\.steps' is missing \(expected a list of texts",
        ),
        (
            {"candidates": [{**candidate("x"), "steps": ["a", 3]}, *record()["candidates"][1:]]},
            r"row 2: 'candidates\[1\]\.steps\[2\]' is 3 \(expected text",
        ),
        (
            {"candidates": [{**candidate("x"), "approach": "?"}, *record()["candidates"][1:]]},
            r"row 2: unknown field 'candidates\[1\]\.approach' \(known fields: problem_type, strategy, steps",
        ),
        (
            {"candidates": [7, *record()["candidates"][1:]]},
            r"row 2: 'candidates\[1\]' is 7 \(expected a text, or an object with problem_type, strategy and steps",
        ),
        (
            {"scores": [{**record()["scores"][0], "no_leak": 1.5}, *record()["scores"][1:]]},
            r"row 2: 'scores\[1\]\.no_leak' is 1\.5 \(expected a number from 0\.0 to 1\.0",
        ),
        (
            {"scores": [{**record()["scores"][0], "no_leak": "1"}, *record()["scores"][1:]]},
            r"row 2: 'scores\[1\]\.no_leak' is '1' \(expected a number from 0\.0 to 1\.0",
        ),
    ],
)
def test_a_wrong_record_is_one_line_with_row_and_field(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    file = write(tmp_path / "r.jsonl", record("z"), record("b", **changed))
    with pytest.raises(RecordingError, match=message) as caught:
        read_recording(file, 5)
    assert str(caught.value).startswith(f"{file} row 2: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_file_and_a_missing_setting_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.jsonl: no such file"):
        read_recording(tmp_path / "none.jsonl", 5)
    with pytest.raises(RecordingError, match=r"holds no rows \(expected at least one record"):
        read_recording(write(tmp_path / "r.jsonl"), 5)
    for teacher in ({"kind": "recorded"}, {"kind": "scripted", "recording": "r.jsonl"}):
        with pytest.raises((UserError, ValueError), match="expected kind recorded with the file that it replays"):
            PipelineParams.model_validate({"teacher": teacher})
