"""What a push would send and a pull would fetch."""

from collections.abc import Mapping
from pathlib import Path

from sgpo.amounts import counted
from sgpo.forecast import Forecast
from sgpo.storage.folders import files_to_fetch, files_to_send
from sgpo.storage.manifest import StoredFile, folder_files
from sgpo.storage.objects import ObjectStore


def forecast_push(store: ObjectStore, folder: Path, name: str, *, replace: bool) -> Forecast:
    """Return what would be sent: files that are there already are not. Raises StorageError as the push would."""
    return _forecast(name, "sent", folder_files(folder), files_to_send(store, folder, name, replace=replace))


def forecast_pull(store: ObjectStore, name: str, target: Path) -> Forecast:
    """Return what would be fetched: not what an interrupted pull has fetched. Raises StorageError as the pull would."""
    manifest, missing = files_to_fetch(store, name, target)
    return _forecast(str(target), "fetched", manifest.files, missing)


def _forecast(writes: str, done: str, files: Mapping[str, StoredFile], missing: Mapping[str, StoredFile]) -> Forecast:
    size, left = (sum(file.size for file in some.values()) for some in (files, missing))
    what = f"{counted(len(files), 'file')}, {size:,} bytes"
    says = f"{writes}: {what}, of which {len(missing)} with {left:,} bytes would be {done}"
    return Forecast(writes, (says,), files=len(missing), bytes=left)
