"""Files of outcomes: what a model answered, problem by problem, and what was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgpo.evaluation.scores import EvaluationError, Outcome
from sgpo.files import publish_file


def write_outcomes(outcomes: Sequence[Outcome], path: Path, about: Mapping[str, str]) -> None:
    """Outcomes as JSONL; the first line says what was measured, so that a re-run can tell whether it still holds."""
    with publish_file(path) as aside, aside.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({"about": dict(about)}) + "\n")
        for outcome in outcomes:
            stream.write(json.dumps(row_of(outcome)) + "\n")


def read_outcomes(path: Path, about: Mapping[str, str] | None = None) -> list[Outcome] | None:
    """Outcomes from `path`; None when there is no such file, or it is about something else than `about`.

    Raises EvaluationError, which names the row, for a folder and for a file that holds something else.
    """
    if path.is_dir():
        raise EvaluationError(f"{path}: is a folder (expected a file of outcomes)")
    if not path.is_file():
        return None
    outcomes, number = [], 1
    try:
        first, *rows = path.read_text(encoding="utf-8").splitlines()
        if json.loads(first)["about"] != dict(about or ()) and about is not None:
            return None
        for row in rows:
            number += 1
            outcomes.append(outcome_of(json.loads(row)))
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(
            f"{path} row {number}: is no outcome (expected a file that `sgpo evaluate` wrote, whole, or a new name)"
        ) from None
    return outcomes


def required_outcomes(path: Path) -> list[Outcome]:
    """Outcomes from `path`; EvaluationError when there is no such file."""
    outcomes = read_outcomes(path)
    if outcomes is None:
        raise EvaluationError(f"{path}: no such file (expected outcomes written by `sgpo evaluate`)")
    return outcomes


def row_of(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as one JSON object."""
    row = {"problem_id": outcome.problem_id, "tier": outcome.tier, "rewards": list(outcome.rewards)}
    return row if outcome.lenient is None else row | {"lenient": list(outcome.lenient)}


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `row_of` wrote; older versions wrote no lenient rewards."""
    lenient = row.get("lenient")
    return Outcome(row["problem_id"], row["tier"], tuple(row["rewards"]), None if lenient is None else tuple(lenient))
