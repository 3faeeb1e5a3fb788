"""Opening the model registry: one writer at a time, and errors of one line."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from sgpo.config import TrackingConfig
from sgpo.errors import UserError
from sgpo.tracking.client import connect, reason, resolved, short_patience, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCK_WAIT_S = 600.0


class RegistryError(UserError):
    """A registry that cannot be reached or used as asked; the message is one line."""


@contextmanager
def open_registry(tracking: TrackingConfig, *, write: bool) -> Iterator[MlflowClient]:
    """Yield a client of the registry; while the block of a writer runs, no other writer of this machine is in one.

    A server that does not answer within seconds, and whatever MLflow refuses, is a RegistryError. The lock is a file
    beside the SQLite database; for a server, one in the system's folder for temporary files, which holds between this
    user's processes on one machine. MLflow has no lock and no compare-and-set: with workers on several machines, let
    only one of them promote.
    """
    from mlflow.exceptions import MlflowException

    with _lock(tracking) if write else _no_lock():
        client = connect(tracking)
        try:
            with short_patience():
                client.search_registered_models(max_results=1)
        except Exception as error:  # whatever a server or database can raise; the reason is passed on
            raise RegistryError(f"registry {tracking.mlflow_uri}: no answer: {reason(error)}") from error
        try:
            yield client
        except MlflowException as error:
            raise RegistryError(f"registry {tracking.mlflow_uri}: {reason(error)}") from error


@contextmanager
def default_store(uri: str) -> Iterator[None]:
    """Within the block, MLflow's process-wide default store is `uri`.

    The SQLite store looks a `models:/<id>` source up in the default store instead of in itself (a TODO in MLflow 3.17's
    `create_model_version`), so that registering needs it although everything else goes through a client.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # pyright: ignore[reportArgumentType]  (None is how it is unset)


def lock_file(tracking: TrackingConfig) -> Path:
    """Return the file that writers of this registry lock."""
    database = sqlite_path(tracking)
    if database:
        database = database.resolve()  # the same file for every path to the database
        return database.with_name(f"{database.name}.registry.lock")
    server = hashlib.sha256(resolved(tracking).mlflow_uri.rstrip("/").encode()).hexdigest()[:12]
    # Not in the working directory: two checkouts on one machine promote in the same registry.
    return Path(tempfile.gettempdir()) / f"sgpo-{os.getuid()}-registry-{server}.lock"


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


@contextmanager
def _lock(tracking: TrackingConfig) -> Iterator[None]:
    """Yield a file lock, which the system lifts when its holder dies."""
    path = lock_file(tracking)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=_LOCK_WAIT_S)
    try:
        lock.acquire()
    except Timeout:
        raise RegistryError(f"{path}: held by another process for {_LOCK_WAIT_S:.0f} s") from None
    try:
        yield
    finally:
        lock.release()
