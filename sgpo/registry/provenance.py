"""What a training run was made with, noted as it begins: the code, the data's versions, the machine.

When the model is registered, hours later, data and checkout may be others. `runs/<id>/provenance/` keeps what was:
training.json (one entry for each time the run was begun or resumed under other conditions), and the params.yaml and
dvc.lock beside the data, and what `dvc add` has recorded in the data folder (its *.dvc files).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sgpo.algorithms.registry import method
from sgpo.config import ConfigError, RunConfig, config_digest, load_config
from sgpo.errors import one_line
from sgpo.files import file_md5, publish_file, write_json
from sgpo.registry.dvc_records import recorded_md5s
from sgpo.registry.lineage import Lineage, git_state

FOLDER, TRAINING = "provenance", "training.json"
BESIDE_THE_DATA = ("params.yaml", "dvc.lock")
CONFIGURATION = "config.yaml"


class Provenance(BaseModel):
    """The conditions of a training process. `data_md5s` is in DVC's notation, of the bytes that were there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str
    git_commit: str | None
    git_dirty: bool | None
    data_md5s: dict[str, str]
    environment: dict[str, str]

    def differences(self, other: Provenance) -> list[str]:
        """Return what is not the same in `other`, one phrase each."""
        ours, theirs = self._flat(), other._flat()
        return [
            f"{name} was {ours.get(name, 'not there')}, then {theirs.get(name, 'not there')}"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]

    def _flat(self) -> dict[str, str]:
        code = {"code": f"{self.git_commit}{' with local changes' if self.git_dirty else ''}"}
        return {**code, **self.data_md5s, **self.environment}


def note_provenance(config: RunConfig, run_folder: Path) -> None:
    """Note what this process will train with, in the run directory; only the first process of a run calls this."""
    state = git_state(Path(__file__).parent)
    now = Provenance(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=state[0] if state else None,
        git_dirty=state[1] if state else None,
        data_md5s=training_data_md5s(config),
        environment={**environment(), **_left_out(config)},
    )
    folder = run_folder / FOLDER
    before = read_provenance(run_folder)
    if before and not before[-1].differences(now):
        return
    if not before:
        root = _data_root(config.data)
        added = [file.relative_to(root) for file in config.data.absolute().glob("*.dvc")]
        for file in (*BESIDE_THE_DATA, *added):
            if (root / file).is_file():
                with publish_file(folder / file) as aside:
                    aside.write_bytes((root / file).read_bytes())
    write_json(folder / TRAINING, [entry.model_dump(mode="json") for entry in (*before, now)])


def _left_out(config: RunConfig) -> dict[str, str]:
    """Return the problems that the settings exclude, which may begin in the middle of a run."""
    names = config.training.exclude_problems
    return {"excluded problems": ", ".join(names)} if names else {}


def read_provenance(run_folder: Path) -> list[Provenance]:
    """How a run was begun and resumed, oldest first; empty when nothing was noted. ConfigError for a damaged file."""
    path = run_folder / FOLDER / TRAINING
    try:
        return [Provenance.model_validate(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, ValidationError) as error:
        raise ConfigError(f"{path}: not what a training run notes: {one_line(error)}") from None


def lineage_of_run(
    run_folder: Path, parent_version: str, evaluation: Mapping[str, float], data_md5s: Mapping[str, str]
) -> Lineage:
    """Return the lineage of a trained model, from what its run noted as it began.

    `data_md5s` are those that DVC knows by now, for a run that noted none. Raises ConfigError when the run directory
    has no configuration.
    """
    entries = read_provenance(run_folder)
    first = entries[0] if entries else None
    changed = sorted({phrase for entry in entries[1:] for phrase in entries[0].differences(entry)})
    md5s = {**(_noted_md5s(run_folder) or data_md5s), **(first.data_md5s if first else {})}
    strategies = next((md5 for path, md5 in md5s.items() if Path(path).name == "strategies.parquet"), None)
    return Lineage(
        data_md5s=md5s,
        strategies_digest=strategies,
        git_commit=first.git_commit if first else None,
        git_dirty=first.git_dirty if first else None,
        parent_version=parent_version,
        config_digest=config_digest(load_config(run_folder / CONFIGURATION)),
        evaluation=dict(evaluation),
        environment={**first.environment, **({"resumed": "; ".join(changed)} if changed else {})} if first else {},
    )


def attachments_of_run(run_folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the texts that go with a trained model into the registry: its configuration, what it noted, and `more`."""
    files = {CONFIGURATION: run_folder / CONFIGURATION}
    files |= {name: run_folder / FOLDER / name for name in (TRAINING, *BESIDE_THE_DATA)}
    found = {name: path.read_bytes().decode() for name, path in files.items() if path.is_file()}
    return {**found, **(more or {})}


def training_data_md5s(config: RunConfig) -> dict[str, str]:
    """Return the md5 of each file that training reads and that is there, as DVC writes it, by path beside dvc.lock."""
    names = ["splits", "strategies.parquet"]
    if "responses" in method(config.training.algorithm.type).needs:
        names.append("responses.parquet")
    root = _data_root(config.data)
    paths = [config.data.absolute() / name for name in names]
    return {path.relative_to(root).as_posix(): dvc_md5(path) for path in paths if path.exists()}


def dvc_md5(path: Path) -> str:
    """Return the md5 that DVC gives a file, or a folder with everything in it."""
    if path.is_file():
        return file_md5(path)
    files = {file.relative_to(path).as_posix(): dvc_md5(file) for file in path.rglob("*") if file.is_file()}
    entries = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())])
    return f"{hashlib.md5(entries.encode(), usedforsecurity=False).hexdigest()}.dir"


def environment() -> dict[str, str]:
    """Return What, beside code, data and settings, the bytes of a trained model depend on."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": str(torch.get_num_threads()),
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _data_root(data: Path) -> Path:
    """Return the folder with dvc.lock that `data` lies in; without DVC, the one that holds `data`."""
    above = data.absolute().parents
    return next((folder for folder in above if (folder / "dvc.lock").is_file()), above[0])


def _noted_md5s(run_folder: Path) -> dict[str, str]:
    """Return path -> md5 of what the run's dvc.lock and *.dvc files had: outputs that are data."""
    noted = run_folder / FOLDER
    return recorded_md5s(noted, lambda stage: stage not in ("train", "evaluate"), noted.rglob("*.dvc"))
