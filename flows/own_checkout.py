"""A checkout of its own for a model: this code, and params.yaml, data and versions that no other model shares."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from sgpo.pipeline.recipe_files import stages_for

FOLDERS = ("flows", "sgpo", "configs")
FILES = (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "data/.gitignore", "prefect.yaml")


def make_checkout(source: Path, folder: Path, recipe: str, params: Mapping[str, Any]) -> None:
    """Bring `folder` up to date with the code of the checkout `source`; what was made in it stays.

    Its DVC stages are those of `source` without the testbed's; they depend on the recording that `params` names.
    """
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "bases"))
    for name in FILES:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    stages = stages_for(source / "dvc.yaml", recipe, params["teacher"]["recording"])
    (folder / "dvc.yaml").write_text(stages, encoding="utf-8")
    _write(folder / "params.yaml", params)
    with suppress(FileNotFoundError, subprocess.CalledProcessError):  # no git: no lineage of the code either
        _commit(folder)


def copy_rows(source: Path, target: Path, most: int | None = None) -> None:
    """Copy a JSONL file or JSON array, its first `most` records at most."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".json":
        text = json.dumps(json.loads(text)[:most])
    else:
        text = "".join(text.splitlines(keepends=True)[:most])
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def _write(file: Path, tree: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(tree), sort_keys=False), encoding="utf-8")


def _commit(folder: Path) -> None:
    if not (folder / ".git").is_dir():
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    author = ["-c", "user.name=sgpo", "-c", "user.email=sgpo@localhost"]
    changed = subprocess.run(["git", "diff", "--cached", "--quiet"], cwd=folder).returncode != 0
    if changed:
        message = "--message=The code and settings that make demo-real runs"
        subprocess.run(["git", *author, "commit", "--quiet", message], cwd=folder, check=True)
