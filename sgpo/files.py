"""Files that are either whole or not there: write aside, then rename."""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
    with _place_beside(path) as aside:
        try:
            yield aside
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends without an error it takes the place of `path`."""
    with _place_beside(path) as aside:
        aside.mkdir()
        try:
            yield aside
            replace_folder(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _place_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` that is this writer's alone; what killed writers of `path` have left is deleted.

    The sign that a writer lives is the lock on a file of its own: a process id means another process in another
    container, on another machine or later. The system lifts the lock when its holder dies (on NFS, the server does).
    Where there are no locks, what is left stays. Where they do not reach other machines (NFS mounted with `nolock` or
    `local_lock`), one that writes the same `path` at the same time is taken for dead there, and fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_left_behind(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.aside")
    lock = aside.with_suffix(".lock")
    try:
        with lock.open("xb") as sign_of_life:
            try:
                # Not `filelock`'s: without locks it goes by process ids. It waits for one who takes it for left behind.
                fcntl.flock(sign_of_life, fcntl.LOCK_EX)
            except OSError:
                lock.unlink()
            yield aside
    finally:
        lock.unlink(missing_ok=True)


def _delete_left_behind(path: Path) -> None:
    locks = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.lock")
    for lock in [path.with_name(name) for name in os.listdir(path.parent) if locks.fullmatch(name)]:
        # An error: the writer lives, another deletes it too, or it is another user's.
        with suppress(OSError), lock.open("r+b") as sign_of_life:
            fcntl.flock(sign_of_life, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = lock.with_suffix(".aside")
            if aside.is_dir():
                shutil.rmtree(aside)
            aside.unlink(missing_ok=True)
            lock.unlink()


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
