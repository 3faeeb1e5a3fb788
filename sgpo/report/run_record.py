"""What a run directory holds, read without complaint: what cannot be read is a note for the reader of the report."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sgpo.config import load_config
from sgpo.errors import UserError
from sgpo.evaluation.comparison import Comparison
from sgpo.evaluation.report import compare_files
from sgpo.jsonl import number
from sgpo.pipeline.report import Summary
from sgpo.registry.records import ChampionChange

ModelT = TypeVar("ModelT", bound=BaseModel)


class ReportError(UserError):
    """A folder that is no run directory."""


@dataclass(slots=True)
class RunRecord:
    """A run, as far as its directory tells.

    `rows` are those of metrics.jsonl, `summary` is summary.json as it is there, `comparison` and `decision` its parts;
    `traces` are the rows of traces/; `notes` say, one line each, what is not there or could not be read.
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    comparison: Comparison | None = None
    decision: ChampionChange | None = None
    traces: list[dict[str, Any]] = field(default_factory=list)
    made_of: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """Return the run's id."""
        return str(self.summary.get("run_id", self.folder.absolute().name))

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting of config.yaml by its dotted name."""
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value


def read_run(folder: Path, summary: Summary | None = None, *, traces: bool = True) -> RunRecord:
    """Return what the run directory holds; `summary` where it is not written yet, `traces` where they are wanted.

    Raises ReportError where there is neither a config.yaml, a metrics.jsonl nor a summary.json.
    """
    known = [name for name in ("config.yaml", "metrics.jsonl", "summary.json") if (folder / name).is_file()]
    if not known and summary is None:
        raise ReportError(f"{folder}: no config.yaml, metrics.jsonl or summary.json (expected a run directory)")
    record = RunRecord(folder)
    record.config = _settings(record)
    rows = read_lines(record, folder / "metrics.jsonl")
    record.rows = [_numbers_of(row) for row in rows if isinstance(row.get("step"), int)]
    _read_summary(record, summary)
    if (folder / "made_of.json").is_file():
        record.made_of = _object(record, folder / "made_of.json")
    if not traces:
        return record
    files = sorted((folder / "traces").glob("step-*.jsonl"))
    record.traces = [row for file in files for row in read_lines(record, file)]
    if not record.traces:
        record.notes.append(
            "No traces: the token viewer is empty. They are written while training runs, from version 0.2 on, for "
            "methods with guided responses, unless training.trace.every is null."
        )
    return record


def _read_summary(record: RunRecord, summary: Summary | None) -> None:
    file = record.folder / "summary.json"
    if summary is not None:
        record.summary = summary.model_dump(mode="json")
    elif file.is_file():
        record.summary = _object(record, file)
    else:
        record.comparison = _compared(record)
        what = "no evaluation and no decision" if record.comparison is None else "no decision"
        record.notes.append(f"No summary.json: the run has not ended, or it was trained alone. There is {what}.")
        return
    record.comparison = _part(record, "comparison", Comparison)
    record.decision = _part(record, "decision", ChampionChange)


def _compared(record: RunRecord) -> Comparison | None:
    """Return the comparison of what `sgpo evaluate` has left in evaluation/, for a run without a summary."""
    champion, challenger = (record.folder / "evaluation" / f"{who}.jsonl" for who in ("champion", "challenger"))
    if not (champion.is_file() and challenger.is_file() and record.config):
        return None
    try:
        return compare_files(load_config(record.folder / "config.yaml"), champion, challenger)
    except UserError as error:
        record.notes.append(f"evaluation/: cannot be compared ({error}).")
        return None


def _part(record: RunRecord, name: str, model: type[ModelT]) -> ModelT | None:
    """Return a part of the summary; one that this version cannot read becomes a note."""
    if not record.summary:
        return None
    try:
        return model.model_validate(record.summary.get(name))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        record.notes.append(
            f"summary.json: '{'.'.join(filter(None, (name, where)))}' is not as this version writes it "
            f"({error.errors()[0]['msg']}); the {name} is left out."
        )
        return None


def _settings(record: RunRecord) -> dict[str, Any]:
    file = record.folder / "config.yaml"
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        record.notes.append("No config.yaml: settings are not shown.")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError):
        record.notes.append("config.yaml is not YAML: settings are not shown.")
        return {}
    return tree if isinstance(tree, dict) else {}


def _object(record: RunRecord, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    record.notes.append(f"{file.name} is not a JSON object: left out.")
    return {}


def _numbers_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what can be drawn of a row."""
    found = {}
    for name, value in row.items():
        try:
            number(value)
        except (TypeError, ValueError):
            continue
        found[name] = value
    return found


def read_lines(record: RunRecord, file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines; lines that are none, as a kill leaves the last one, become a note."""
    if not file.is_file():
        record.notes.append(f"No {file.name}: nothing was logged, or the file is elsewhere.")
        return
    spoilt = []
    for place, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield row
        else:
            spoilt.append(str(place))
    if spoilt:
        record.notes.append(f"{file.name}: row {', '.join(spoilt)} is not a JSON object: left out.")
