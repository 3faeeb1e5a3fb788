"""What of finished runs may be deleted: checkpoints, and model folders of which there is a copy in the registry.

Nothing of a run that is not finished goes, nor of the newest finished ones, nor a model that has an alias (champion,
challenger, previous) or that is nowhere else. Metrics, rollouts, evaluations, reports and provenance always stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sgpo.browse.copies import Copy
from sgpo.browse.run_list import PRUNED, RunRow, size_of
from sgpo.errors import UserError
from sgpo.files import write_json
from sgpo.registry.store import RegistryError

CHECKPOINTS = ("checkpoints", "warmup/checkpoints", "weights")
"""What only resuming needs, and the weights that were handed to servers."""
MODEL = "model"
_ASIDE = ".pruned"


class PruningError(UserError):
    """A folder that cannot be deleted; what the plan has after it is still there."""


@dataclass(frozen=True, slots=True)
class Item:
    """A folder of a run, its bytes, and why it goes or stays."""

    run: Path
    path: Path
    size: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "run": str(self.run), "path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Pruning:
    """Lists what goes and what stays."""

    goes: tuple[Item, ...]
    stays: tuple[Item, ...]

    @property
    def size(self) -> int:
        """Return the bytes that are freed."""
        return sum(item.size for item in self.goes)


def plan_pruning(
    rows: Sequence[RunRow], keep: int, copy_of: Callable[[Path], Copy | None], unregistered: bool = False
) -> Pruning:
    """Return what may go of the runs but the newest `keep` finished ones; nothing is deleted.

    `rows` have the newest first, `copy_of` is `Registry.find`. With `unregistered` models go too that no registry
    holds: they cannot be had again but by training.
    """
    goes, stays = list[Item](), list[Item]()
    finished = [row for row in rows if row.finished]
    for row in rows:
        if not row.finished:
            stays.append(Item(row.folder, row.folder, row.size, f"{row.state}: it can be resumed"))
        elif row in finished[:keep]:
            stays.append(Item(row.folder, row.folder, row.size, f"one of the {keep} newest that are finished"))
        else:
            for may_go, item in _judge(row.folder, copy_of, unregistered):
                (goes if may_go else stays).append(item)
    return Pruning(tuple(goes), tuple(stays))


def prune(plan: Pruning) -> None:
    """Delete what the plan says goes. Raises PruningError for the first folder that cannot be deleted."""
    try:
        for folder in dict.fromkeys(item.run for item in plan.goes):
            items = [item.as_dict() for item in plan.goes if item.run == folder]
            write_json(folder / PRUNED, {"deleted": [*_deleted_before(folder / PRUNED), *items]})
        for item in plan.goes:
            _delete(item.path)
    except OSError as error:
        raise PruningError(f"{error.filename}: cannot be deleted ({error.strerror}); run it again to go on") from None


def _delete(path: Path) -> None:
    """Delete a folder after a rename: what is half deleted must not look like a checkpoint or a model."""
    aside = path if path.name.endswith(_ASIDE) else _aside_of(path)
    if aside.is_dir():
        shutil.rmtree(aside)
    if path.is_dir():  # gone meanwhile is as good
        path.rename(aside)
        shutil.rmtree(aside)


def _aside_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")


def _deleted_before(file: Path) -> list[Any]:
    """Return what earlier prunings have noted; nothing where that cannot be read."""
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["deleted"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _judge(run: Path, copy_of: Callable[[Path], Copy | None], unregistered: bool) -> Iterator[tuple[bool, Item]]:
    """Yield the folders of a finished run that may be in question, each with whether it may go."""
    for name in (*CHECKPOINTS, MODEL):
        path, aside = run / name, _aside_of(run / name)
        if aside.is_dir():
            yield True, Item(run, aside, size_of(aside), "what an earlier deletion that was cut off has left")
        if path.is_symlink():
            yield False, Item(run, path, size_of(path), f"a link to {path.readlink()}, which others may use")
        elif name == MODEL and path.is_dir():
            may_go, why = _judge_model(run, copy_of, unregistered)
            yield may_go, Item(run, path, size_of(path), why)
        elif size := size_of(path):
            yield True, Item(run, path, size, "only resuming needs it")


def _judge_model(run: Path, copy_of: Callable[[Path], Copy | None], unregistered: bool) -> tuple[bool, str]:
    """Return whether a run's model may go, and why."""
    try:
        copy = copy_of(run)
    except RegistryError as error:
        return False, f"whether it is registered is not known ({error})"
    if copy is None:
        return (True, "in no registry") if unregistered else (False, "in no registry (`--unregistered` deletes it)")
    if copy.aliases:
        return False, f"version {copy.version}, the {' and '.join(copy.aliases)}"
    return True, f"`sgpo registry download {copy.version} FOLDER` fetches it again"
