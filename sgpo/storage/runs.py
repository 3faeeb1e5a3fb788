"""What is stored of a run, under which names.

`runs/<id>/checkpoints/step-N`, `runs/<id>/warmup`, `runs/<id>/model`, and `runs/<id>/record`: the small files that a
run on another machine resumes from, such as metrics.jsonl and start.json.
"""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from sgpo.storage.folders import pull_folder, push_folder, read_manifest
from sgpo.storage.manifest import leads_out_of
from sgpo.storage.objects import ObjectStore

PARTS = ("rollouts", "provenance")
"""Folders of a run that its record has the files of."""


def run_name(folder: Path) -> str:
    """Return a run directory's name in the storage, whatever folder it lies in on this machine."""
    return f"runs/{folder.absolute().name}"


def push_record(store: ObjectStore, folder: Path) -> None:
    """Store the files that lie in the run directory itself and in PARTS, as they are now; no link that leads out."""
    with TemporaryDirectory() as copies:
        for file in [*folder.iterdir(), *(file for part in PARTS for file in (folder / part).rglob("*"))]:
            if file.is_file() and not file.name.startswith(".") and not leads_out_of(folder, file):
                copy = Path(copies) / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)  # a line may be added meanwhile
        push_folder(store, Path(copies), f"{run_name(folder)}/record", replace=True)


def pull_record(store: ObjectStore, folder: Path) -> bool:
    """Bring the stored record of the run into its directory, over what is there; whether there is one."""
    name = f"{run_name(folder)}/record"
    if read_manifest(store, name) is None:
        return False
    aside = folder / ".record"
    for path in pull_folder(store, name, aside).files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / path, folder / path)
    shutil.rmtree(aside)
    return True
