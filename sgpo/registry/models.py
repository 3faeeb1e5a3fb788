"""Model folders in the registry: what goes in comes out again, byte for byte."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sgpo.config import TrackingConfig
from sgpo.errors import UserError
from sgpo.evaluation.report import folder_digest
from sgpo.files import file_sha256, publish_folder
from sgpo.names import base_run_id, logged_model_name
from sgpo.registry.lineage import ATTACHMENTS_TAG, FILES_TAG, RUN_ID_TAG, hashes_of
from sgpo.registry.store import RegistryError, default_store, open_registry
from sgpo.tracking.client import experiment_id, reason, resolved

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

# What belongs to a Hugging Face model; a pickled optimiser or a stray log does not.
_MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".txt", ".model", ".md")
_MODEL_VERSIONS_TAG = "mlflow.modelVersions"
_WEIGHTS, _WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
_ATTACHMENTS_FOLDER = "lineage"


class ModelFolderError(UserError, ValueError):
    """A folder that is not a whole model; the message names the file and what would be right."""


def register_model_folder(
    tracking: TrackingConfig,
    folder: Path,
    tags: Mapping[str, str],
    run_id: str,
    metrics: Mapping[str, float] | None = None,
    mlflow_run_id: str | None = None,
    attachments: Mapping[str, str] | None = None,
) -> str:
    """Register a Hugging Face folder as a new version of `tracking.registered_model`; returns the version.

    The files become the artifacts of an MLflow logged model, and the version's source is `models:/<id of that model>`.
    The sha256 of each file is in the version's tag FILES_TAG. `tags` are usually `Lineage.tags()`; `run_id` is the
    sgpo run: a version that it has registered before is returned instead of a second one, so a repeated task is safe.
    With `mlflow_run_id` the model and the version are linked to that MLflow run and `metrics` to the model.
    `attachments` are texts by file name that are kept with the model and are not part of it, such as the configuration.

    Raises ModelFolderError when the folder is not a whole model, RegistryError when MLflow does not answer or refuses.
    """
    files = {path.name: file_sha256(path) for path in model_files(folder)}
    name = tracking.registered_model
    texts = dict(attachments or {})
    digests = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()}
    all_tags = {**tags, RUN_ID_TAG: run_id, FILES_TAG: json.dumps(files), ATTACHMENTS_TAG: json.dumps(digests)}
    with open_registry(tracking, write=False) as client:
        if before := _version_of_run(client, name, run_id):
            return before
        # Gigabytes may go up here, so without the lock.
        experiment = experiment_id(client, tracking)
        model_id = _upload(client, experiment, name, [folder / file for file in files], texts, mlflow_run_id)
    with open_registry(tracking, write=True) as client:
        if before := _version_of_run(client, name, run_id):
            client.delete_logged_model(model_id)  # another process registered the same run meanwhile
            return before
        if metrics and mlflow_run_id:
            _log_model_metrics(client, mlflow_run_id, model_id, metrics)
        _create_registered_model(client, name)
        with default_store(resolved(tracking).mlflow_uri):
            version = client.create_model_version(
                name, f"models:/{model_id}", run_id=mlflow_run_id, tags=all_tags, model_id=model_id
            )
        _link_back(client, model_id, name, str(version.version))
        return str(version.version)


def register_base_model(tracking: TrackingConfig, folder: Path, name: str) -> str:
    """Register a model called `name` that no run has trained, such as the first champion; the same one only once."""
    return register_model_folder(tracking, folder, {"sgpo.base_model": name}, base_run_id(folder_digest(folder)))


def registered_version(tracking: TrackingConfig, run_id: str) -> str | None:
    """Return the version that an sgpo run has registered, or None."""
    with open_registry(tracking, write=False) as client:
        return _version_of_run(client, tracking.registered_model, run_id)


def download_version(tracking: TrackingConfig, version_or_alias: str, target_folder: Path) -> str:
    """Restore a version, given by number or alias, into `target_folder`, replacing what is there; returns its number.

    Every file is checked against the sha256 it was registered with before the folder appears. Raises RegistryError when
    there is no such version, or a file is missing or not what was registered.
    """
    with open_registry(tracking, write=False) as client:
        found = find_version(client, tracking, version_or_alias)
        files = hashes_of(found.tags, FILES_TAG)
        if files is None:
            where = f"{tracking.registered_model} version {found.version}"
            raise RegistryError(f"{where}: no '{FILES_TAG}' tag (expected a version registered by sgpo)")
        with publish_folder(target_folder) as aside:
            _download(client, tracking, found, files, aside)
        return str(found.version)


def download_model_file(tracking: TrackingConfig, version_or_alias: str, name: str, folder: Path) -> Path:
    """Fetch one file of a version's model into `folder`. Raises RegistryError as `download_version` does."""
    with open_registry(tracking, write=False) as client:
        found = find_version(client, tracking, version_or_alias)
        files = hashes_of(found.tags, FILES_TAG) or {}
        if name not in files:
            raise RegistryError(f"{tracking.registered_model} version {found.version}: has no file {name}")
        _download(client, tracking, found, {name: files[name]}, folder)
    return folder / name


def stored_sizes(tracking: TrackingConfig, version_or_alias: str) -> tuple[str, dict[str, int | None]]:
    """Return where a version's files are, and their bytes by name. RegistryError where they cannot be listed."""
    with open_registry(tracking, write=False) as client:
        found = find_version(client, tracking, version_or_alias)
        location, artifacts = _artifacts_of(client, tracking, found)
        try:
            return location, {info.path: info.file_size for info in artifacts.list_artifacts() if not info.is_dir}
        except Exception as error:  # whatever a storage can raise; the reason is passed on
            why = f"{location} cannot be listed: {reason(error)}"
            raise RegistryError(f"{tracking.registered_model} version {found.version}: {why}") from error


def check_stored(tracking: TrackingConfig, version: str, sizes: Mapping[str, int]) -> None:
    """Raise RegistryError unless the files of a version are where it says, each of its size (name -> bytes).

    A version is a row in a database, and its files lie elsewhere: the row stays when they are deleted.
    """
    location, stored = stored_sizes(tracking, version)
    where = f"{tracking.registered_model} version {version}"
    for name, size in sizes.items():
        if name not in stored or stored[name] not in (None, size):
            raise RegistryError(f"{where}: {name} is not in {location} as it was registered")


def read_attachments(tracking: TrackingConfig, version_or_alias: str) -> dict[str, str]:
    """Return the texts that a version was registered with, by file name; empty when there are none.

    Raises RegistryError when there is no such version, or a text is missing or not what was registered.
    """
    with open_registry(tracking, write=False) as client, tempfile.TemporaryDirectory() as folder:
        found = find_version(client, tracking, version_or_alias)
        digests = hashes_of(found.tags, ATTACHMENTS_TAG) or {}
        stored = {f"{_ATTACHMENTS_FOLDER}/{name}": digest for name, digest in digests.items()}
        _download(client, tracking, found, stored, Path(folder))
        return {name: (Path(folder) / _ATTACHMENTS_FOLDER / name).read_bytes().decode() for name in digests}


def find_version(client: MlflowClient, tracking: TrackingConfig, version_or_alias: str) -> ModelVersion:
    """Return the version with this number or alias. RegistryError names what is not there."""
    from mlflow.exceptions import MlflowException

    name = tracking.registered_model
    try:
        if version_or_alias.isdecimal():
            return client.get_model_version(name, version_or_alias)
        return client.get_model_version_by_alias(name, version_or_alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise RegistryError(f"registry {tracking.mlflow_uri}: {name} has no version '{version_or_alias}'") from None


def version_exists(client: MlflowClient, tracking: TrackingConfig, version: str) -> bool:
    """Return whether the registered model has this version."""
    try:
        find_version(client, tracking, version)
    except RegistryError:
        return False
    return True


def model_files(folder: Path) -> list[Path]:
    """Return the files of a whole Hugging Face model by name; ModelFolderError names the first that is missing."""
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such folder (expected a Hugging Face model folder)")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        _read_json(folder, name)
    shards = [_WEIGHTS]
    if (folder / _WEIGHTS_INDEX).is_file():
        shards = sorted(set(_read_json(folder, _WEIGHTS_INDEX).get("weight_map", {}).values()))
    for name in shards:
        if not (folder / name).is_file():
            raise ModelFolderError(f"{folder}: no {name} (expected the weights as safetensors)")
        try:
            with safe_open(folder / name, framework="np") as weights:
                empty = not list(weights.keys())
        except SafetensorError as error:
            raise ModelFolderError(f"{folder / name}: not whole safetensors: {error}") from None
        if empty:
            raise ModelFolderError(f"{folder / name}: holds no weights")
    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if path.suffix in _MODEL_SUFFIXES)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise ModelFolderError(f"{folder}: no {name} (expected a Hugging Face model with its tokenizer)")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelFolderError(f"{path}: not JSON") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: {type(value).__name__} (expected an object)")
    return value


def _version_of_run(client: MlflowClient, name: str, run_id: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{RUN_ID_TAG}` = '{run_id}'")
    return str(found[0].version) if found else None


def _create_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _download(
    client: MlflowClient, tracking: TrackingConfig, version: ModelVersion, files: Mapping[str, str], folder: Path
) -> None:
    """Fetch a version's artifacts `files` (path -> sha256) into `folder`; RegistryError when one is not what it was."""
    from mlflow.exceptions import MlflowException

    where = f"{version.name} version {version.version}"
    location, artifacts = _artifacts_of(client, tracking, version)
    for name, expected in files.items():
        try:
            artifacts.download_artifacts(name, dst_path=str(folder))
        except (MlflowException, OSError) as error:
            raise RegistryError(f"{where}: {name} cannot be read from {location}") from error
        if file_sha256(folder / name) != expected:
            raise RegistryError(f"{where}: {name} is not the file that was registered (sha256 differs)")


def _artifacts_of(
    client: MlflowClient, tracking: TrackingConfig, version: ModelVersion
) -> tuple[str, ArtifactRepository]:
    """Return where a version's files are, and what reads them there."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = resolved(tracking).mlflow_uri
    location = client.get_model_version_download_uri(version.name, str(version.version))
    return location, get_artifact_repository(location, tracking_uri=uri, registry_uri=uri)


def _upload(
    client: MlflowClient, experiment: str, name: str, files: Sequence[Path], attachments: Mapping[str, str],
    mlflow_run_id: str | None,
) -> str:  # fmt: skip
    """Return a new logged model with the files as artifacts; READY only when all are up, FAILED when one is not."""
    model = client.create_logged_model(
        experiment, name=logged_model_name(name), source_run_id=mlflow_run_id, model_type="transformers"
    )
    try:
        for file in files:
            client.log_model_artifact(model.model_id, str(file))
        with tempfile.TemporaryDirectory() as folder:
            for file, text in attachments.items():
                (Path(folder) / file).write_bytes(text.encode())
            if attachments:
                client.log_model_artifacts(model.model_id, folder, _ATTACHMENTS_FOLDER)
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _link_back(client: MlflowClient, model_id: str, name: str, version: str) -> None:
    """Name the version on the logged model, as a server does of itself and the SQLite store does not."""
    if _MODEL_VERSIONS_TAG not in client.get_logged_model(model_id).tags:
        client.set_logged_model_tags(model_id, {_MODEL_VERSIONS_TAG: json.dumps([{"name": name, "version": version}])})


def _log_model_metrics(client: MlflowClient, run_id: str, model_id: str, metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    batch = [Metric(key, value, now, 0, model_id=model_id, run_id=run_id) for key, value in metrics.items()]
    client.log_batch(run_id, metrics=batch)
