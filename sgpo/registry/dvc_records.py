"""What DVC has recorded of data, read from its own files: dvc.lock, and the *.dvc files that `dvc add` makes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml


def recorded_md5s(root: Path, wanted: Callable[[str], bool], added: Iterable[Path] = ()) -> dict[str, str]:
    """Return path -> md5 of the `wanted` stages' outputs in `root`/dvc.lock, and of what the *.dvc files `added` name.

    Paths are relative to `root`, under which the *.dvc files lie.
    """
    stages = _yaml(root / "dvc.lock").get("stages", {})
    outs = [out for name, stage in stages.items() if wanted(name) for out in stage.get("outs", [])]
    for file in sorted(added):
        folder = file.parent.relative_to(root)
        outs += [{**out, "path": (folder / out["path"]).as_posix()} for out in _yaml(file).get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _yaml(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
