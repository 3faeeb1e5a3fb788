"""How this project opens MLflow: from the settings, quietly, and without waiting long for a server that is down.

MLflow is imported inside the functions, so that a process without it (or before it needs it) can import this module.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sgpo.config import TrackingConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's own defaults wait 7 retries of 120 s each: minutes per call when a server is gone.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def connect(tracking: TrackingConfig) -> MlflowClient:
    """Return a client of the settings' server or database; makes the folder of a SQLite database.

    The fluent global state is left alone. Usage telemetry, progress bars and printed links are off unless the
    environment says otherwise. Raises ImportError where MLflow is not installed; no request is made yet, so a server
    that is down shows at the first call.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = sqlite_path(tracking)
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
    uri = resolved(tracking).mlflow_uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _resolved_root(root: str) -> str:
    """Return a folder's absolute path; an address such as s3://… is one already."""
    return root if "://" in root else str(Path(root).absolute())


def resolved(tracking: TrackingConfig) -> TrackingConfig:
    """Return the same settings with absolute paths, so that they still hold in another working directory."""
    database = sqlite_path(tracking)
    if database is None:
        return tracking
    return tracking.model_copy(
        update={"mlflow_uri": f"{_SQLITE}{database}", "artifact_root": _resolved_root(tracking.artifact_root)}
    )


def sqlite_path(tracking: TrackingConfig) -> Path | None:
    """Return the absolute path of the SQLite database, or None when the URI is of a server or another database."""
    if not tracking.mlflow_uri.startswith(_SQLITE):
        return None
    return Path(tracking.mlflow_uri.removeprefix(_SQLITE)).absolute()


def is_server(tracking: TrackingConfig) -> bool:
    """Whether the URI is an MLflow server's, and not a database's that this process opens itself."""
    return tracking.mlflow_uri.partition("://")[0] in ("http", "https")


def experiment_id(client: MlflowClient, tracking: TrackingConfig) -> str:
    """Return the id of the settings' experiment, created when it is not there.

    In a database its artifacts go to `artifact_root`; a server knows its own place for them.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(tracking.experiment)
    if found is None:
        location = None if is_server(tracking) else _resolved_root(tracking.artifact_root)
        try:
            return client.create_experiment(tracking.experiment, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(tracking.experiment)  # another process was first
    if found is None or found.lifecycle_stage != "active":
        raise MlflowException(f"experiment '{tracking.experiment}' was deleted (restore it, or choose another name)")
    return found.experiment_id


@contextmanager
def short_patience() -> Iterator[None]:
    """Within the block MLflow's HTTP client gives up after one retry of 10 s, unless the environment sets otherwise.

    MLflow reads these limits from the environment at every request and knows no other way; they are put back after.
    """
    ours = [name for name in _PATIENCE if name not in os.environ]
    os.environ.update({name: _PATIENCE[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def reason(error: Exception, longest: int = 200) -> str:
    """Why MLflow failed, on one line: of an unreachable server or database the innermost cause, such as
    "[Errno 111] Connection refused", instead of the chain of retries around it.
    """
    innermost: BaseException = error
    while innermost.__context__ is not None:
        innermost = innermost.__context__
    shown = innermost if isinstance(innermost, OSError) else error
    text = " ".join(str(shown).split()) or type(shown).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
