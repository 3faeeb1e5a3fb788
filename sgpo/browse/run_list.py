"""The runs of a folder, one row each: method, data, how far it got, what came of it, and its size on disk."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sgpo.errors import UserError
from sgpo.evaluation.intervals import Estimate
from sgpo.jsonl import number
from sgpo.report.run_record import RunRecord, read_run

State = Literal["finished", "stopped", "unfinished"]
RUN_FILES = ("config.yaml", "metrics.jsonl", "summary.json")
"""A folder with one of them is a run directory."""
LAST_STEPS = 10
"""Steps whose mean reward is the result of a run that was not evaluated."""
PRUNED = "pruned.json"
"""In a run directory of which something was deleted: what, and why it could be."""


class RunListError(UserError):
    """A folder in which there are no runs to list."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. `changed` is in seconds since 1970, `size` in bytes on disk.

    `finished`: the retraining has its summary, or, for a run that was trained alone, the model is exported. `stopped`:
    the run ended itself with a reason. `data` names data files and their hashes, as far as the run says. `gain` is the
    challenger's over the champion; `reward` the mean over the last steps, without strategy.
    """

    run_id: str
    folder: Path
    state: State
    method: str | None
    steps: int
    planned: int | None
    data: dict[str, str]
    reward: float | None
    gain: Estimate | None
    decision: str | None
    version: str | None
    size: int
    changed: float

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be done of it."""
        return self.state == "finished"

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        gain = None if self.gain is None else self.gain.model_dump()
        return {**asdict(self), "folder": str(self.folder), "gain": gain}


def list_runs(folder: Path) -> list[RunRow]:
    """Return the run directories in `folder`, the one that was changed last first.

    Raises RunListError where there is no such folder.
    """
    if not folder.is_dir():
        raise RunListError(f"{folder}: no such folder (expected one of run directories, such as runs)")
    found = [path for path in folder.iterdir() if any((path / name).is_file() for name in RUN_FILES)]
    # A run with a link beside it, as `latest` is, is one run, under its own name.
    runs = {path.resolve(): path for path in sorted(found, key=lambda path: (not path.is_symlink(), path.name))}
    return sorted(map(describe_run, runs.values()), key=lambda row: (-row.changed, row.run_id))


def describe_run(folder: Path) -> RunRow:
    """Return the row of one run directory; what cannot be read is left empty. Raises ReportError where it is none."""
    record = read_run(folder, traces=False)
    decision = record.decision
    files = [folder / name for name in (*RUN_FILES, "tracking.jsonl")]
    return RunRow(
        run_id=record.run_id,
        folder=folder,
        state=_state(folder),
        method=record.setting("training.algorithm.type"),
        steps=max((row["step"] + 1 for row in record.rows), default=0),
        planned=record.setting("training.steps"),
        data=_data(record),
        reward=_reward(record),
        gain=None if record.comparison is None else record.comparison.overall.difference,
        decision=None if decision is None else decision.action,
        version=None if decision is None else decision.version,
        size=size_of(folder),
        changed=max(file.stat().st_mtime for file in files if file.is_file()),
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; a file with several names counts once."""
    if not path.is_dir():
        return path.lstat().st_size if path.exists() else 0
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:  # a run that is training replaces its checkpoints
                continue
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _state(folder: Path) -> State:
    pruned = (folder / PRUNED).is_file() and not (folder / "checkpoints").is_dir()  # and not trained again since
    if pruned or (folder / "summary.json").is_file():
        return "finished"
    exported = (folder / "model" / "config.json").is_file()
    if exported and not (folder / "start.json").is_file():  # a flow goes on after training, to its summary
        return "finished"
    return "stopped" if (folder / "stopped.json").is_file() and not exported else "unfinished"


def _data(record: RunRecord) -> dict[str, str]:
    versions = record.summary.get("data_versions")
    made_of = {name: text for name, text in record.made_of.items() if name not in ("settings", "model")}
    found = {**made_of, **(versions if isinstance(versions, dict) else {})}
    return {str(name): str(value) for name, value in found.items()}


def _reward(record: RunRecord) -> float | None:
    rewards = [number(row["reward/autonomous"]) for row in record.rows[-LAST_STEPS:] if "reward/autonomous" in row]
    mean = sum(rewards) / len(rewards) if rewards else math.nan
    return mean if math.isfinite(mean) else None
