"""What a run exports: its best weights by validation, or without validation the last ones; and what is noted of it."""

import json
from pathlib import Path
from typing import Any

from sgpo.amounts import counted
from sgpo.files import write_json
from sgpo.training.checkpoints.checkpoint import best_checkpoint, load_weights
from sgpo.training.history import Ended, best_of
from sgpo.training.policy import Policy
from sgpo.training.world import World

FILE = "validation.json"
"""In the run's folder: which step is exported, the best and the last one, and all validations."""


def take_best(policy: Policy, run_folder: Path, ended: Ended, world: World) -> None:
    """Give the policy the weights of the best validation, and write FILE; nothing without validations. Collective.

    Where its checkpoint could not be written or was damaged, the best one that is whole is taken, with a message.
    """
    best = best_of(ended.validations)
    if best is None:
        return
    checkpoint = best_checkpoint(run_folder / "checkpoints")
    exported = ended.steps if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
    if checkpoint is not None and exported != ended.steps:
        load_weights(checkpoint, policy)
    if not world.is_main:
        return
    if exported != best["step"]:
        print(f"warning: no whole checkpoint of the best step {best['step']}: step {exported} is exported", flush=True)
    score = {one["step"]: one["avg_at_k"] for one in ended.validations}.get(exported)
    shown = "" if score is None else f", avg@k {100 * score:.1f}"
    why = "stopped early after" if ended.stopped_early else "of"
    print(f"exported: the weights after step {exported}{shown}; {why} {counted(ended.steps, 'step')}", flush=True)
    record = {
        "exported_step": exported, "best_step": best["step"], "last_step": ended.steps,
        "stopped_early": ended.stopped_early, "validations": ended.validations,
    }  # fmt: skip
    write_json(run_folder / FILE, record)


def record_of_best(run_folder: Path) -> dict[str, Any] | None:
    """Return what `take_best` has written to FILE; None for a run without validations."""
    file = run_folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def tags_of(run_folder: Path) -> dict[str, str]:
    """Return what the tracker is told of FILE, as tags; nothing where there is no such file."""
    if (record := record_of_best(run_folder)) is None:
        return {}
    names = ("exported_step", "best_step", "last_step", "stopped_early")
    return {f"sgpo.{name}": str(record[name]).lower() for name in names}
