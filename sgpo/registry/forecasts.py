"""What a registration would upload, and a download from the registry fetch."""

from pathlib import Path

from sgpo.amounts import counted
from sgpo.config import TrackingConfig
from sgpo.evaluation.report import folder_digest
from sgpo.forecast import Forecast
from sgpo.names import base_run_id
from sgpo.registry.models import model_files, registered_version, stored_sizes


def forecast_registration(tracking: TrackingConfig, folder: Path, name: str) -> Forecast:
    """Return what registering a base model would upload, nothing where it is a version already; uploads nothing.

    Raises ModelFolderError where the folder is not a whole model.
    """
    files = model_files(folder)
    if version := registered_version(tracking, base_run_id(folder_digest(folder))):
        says = f"{tracking.registered_model} version {version}: {name}, registered already"
        return Forecast(tracking.registered_model, (says,), files=0, bytes=0)
    size = sum(file.stat().st_size for file in files)
    says = f"{tracking.registered_model}, a new version: {name}, {counted(len(files), 'file')}, {size:,} bytes"
    return Forecast(tracking.registered_model, (says,), files=len(files), bytes=size)


def forecast_download(tracking: TrackingConfig, version_or_alias: str, target: Path) -> Forecast:
    """Return how many files and bytes a version has; fetches nothing. Raises RegistryError where it has none."""
    location, sizes = stored_sizes(tracking, version_or_alias)
    size = sum(size or 0 for size in sizes.values())
    says = f"{target}: {counted(len(sizes), 'file')}, {size:,} bytes, would be fetched from {location}"
    return Forecast(str(target), (says,), files=len(sizes), bytes=size)
