"""What DVC has recorded of data, read from its own files: dvc.lock, and the *.dvc files that `dvc add` makes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from sgpo.config import ConfigError
from sgpo.errors import one_line


def recorded_md5s(root: Path, wanted: Callable[[str], bool], added: Iterable[Path] = ()) -> dict[str, str]:
    """Return path -> md5 of the `wanted` stages' outputs in `root`/dvc.lock, and of what the *.dvc files `added` name.

    Paths are relative to `root`, under which the *.dvc files lie. Raises ConfigError where a file is not as DVC writes
    it, as after a merge that was not finished.
    """
    stages = _read(root / "dvc.lock").stages
    outs = [out for name, stage in stages.items() if wanted(name) for out in stage.outs]
    for file in sorted(added):
        folder = file.parent.relative_to(root)
        outs += [out.model_copy(update={"path": (folder / out.path).as_posix()}) for out in _read(file).outs]
    return {out.path: out.md5 for out in outs if out.md5 is not None}


class _Out(BaseModel):
    path: str
    md5: str | None = None


class _Stage(BaseModel):
    outs: list[_Out] = []


class _Records(_Stage):
    """Hold what either kind of file may: dvc.lock stages, a *.dvc file outputs."""

    stages: dict[str, _Stage] = {}


def _read(path: Path) -> _Records:
    """Return the file's records, none where there is no file; ConfigError, naming line or field, if it is not DVC's."""
    if not path.is_file():
        return _Records()
    again = "`git checkout --ours` or `--theirs` it, and `dvc repro` brings it up to date"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise ConfigError(f"{path} line {number}: a merge left its markers ({line[:20]}); {again}")
    try:
        return _Records.model_validate(yaml.safe_load("\n".join(lines)) or {})
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {one_line(error)}; {again}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: not what DVC writes: {one_line(error)}; {again}") from None
