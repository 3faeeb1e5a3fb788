"""What of finished runs may be deleted: checkpoints, and model folders of which there is a copy in the registry.

Nothing of a run that is not finished goes, nor of the newest finished ones, nor a model that has an alias (champion,
challenger, previous) or that is nowhere else. Metrics, rollouts, evaluations, reports and provenance always stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sgpo.browse.copies import Copy
from sgpo.browse.run_list import PRUNED, RunRow, size_of
from sgpo.files import write_json
from sgpo.registry.store import RegistryError

CHECKPOINTS = ("checkpoints", "warmup/checkpoints", "weights")
"""What only resuming needs, and the weights that were handed to servers."""
MODEL = "model"


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
    """What goes and what stays."""

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
            for name in CHECKPOINTS:
                if size := size_of(row.folder / name):
                    goes.append(Item(row.folder, row.folder / name, size, "only resuming needs it"))
            if (row.folder / MODEL).is_dir():
                may_go, why = _judge_model(row.folder, copy_of, unregistered)
                item = Item(row.folder, row.folder / MODEL, size_of(row.folder / MODEL), why)
                (goes if may_go else stays).append(item)
    return Pruning(tuple(goes), tuple(stays))


def prune(plan: Pruning) -> None:
    """Delete what the plan says goes."""
    for folder in dict.fromkeys(item.run for item in plan.goes):
        items = [item.as_dict() for item in plan.goes if item.run == folder]
        write_json(folder / PRUNED, {"deleted": items})
    for item in plan.goes:
        # A rename first: what is half deleted must not look like a checkpoint or a model.
        aside = item.path.with_name(f".{item.path.name}.pruned")
        shutil.rmtree(aside, ignore_errors=True)
        item.path.rename(aside)
        shutil.rmtree(aside)


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
