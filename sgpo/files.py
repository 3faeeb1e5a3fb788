"""Files that are either whole or not there: write aside, then rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sgpo.errors import UserError

SECOND_COPIES = "*consolidated*"
"""Files of a model's weights a second time, in another format: never fetched, opened or part of what identifies it."""


class PlaceError(UserError):
    """A place that holds something else than what would be published there."""


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; when the block ends without an error it is renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends without an error it takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        replace_folder(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_empty_folder(path: Path) -> bool:
    """Return whether `path` is a folder with nothing in it."""
    return path.is_dir() and not any(path.iterdir())


def check_model_place(folder: Path) -> None:
    """Raise PlaceError unless `folder` is new, empty or a model's: a model published there deletes what it holds."""
    is_model = (folder / "config.json").is_file()
    if os.path.lexists(folder) and not (is_model or is_empty_folder(folder)):
        raise PlaceError(f"{folder}: holds something else (expected a new or empty folder, or an earlier model's)")


def replace_folder(aside: Path, path: Path) -> None:
    """Rename the folder `aside` to `path`, and delete what was there."""
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.replace(path, replaced)
    os.replace(aside, path)
    shutil.rmtree(replaced, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_md5(path: Path) -> str:
    """Return the md5 of a file's bytes, as DVC records it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with publish_file(path) as aside:
        aside.write_text(json.dumps(value, indent=2, sort_keys=False) + "\n", encoding="utf-8")


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first key whose value is another now; None for the same record."""
    return next((key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)), None)
