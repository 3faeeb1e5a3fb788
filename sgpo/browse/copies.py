"""Which model folders the registry holds: only what can be fetched again may be deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from sgpo.config import TrackingConfig
from sgpo.files import file_sha256
from sgpo.registry.lineage import FILES_TAG, hashes_of
from sgpo.registry.models import ModelFolderError, check_stored, model_files
from sgpo.registry.records import read_record
from sgpo.registry.store import RegistryError, open_registry
from sgpo.tracking.client import sqlite_path


@dataclass(frozen=True, slots=True)
class Copy:
    """A registered version by its number, with its aliases and the sha256 of its files by name."""

    version: str
    aliases: tuple[str, ...]
    files: Mapping[str, str]


class Registry:
    """Answers which version a run's model is a copy of; each registered model is asked for once."""

    def __init__(self) -> None:
        self._copies: dict[tuple[str, str], list[Copy] | RegistryError] = {}

    def find(self, run: Path) -> Copy | None:
        """Return the version whose files are those of the run's model, byte for byte; None where there is none.

        One with an alias comes first. Raises RegistryError where the run's registry cannot be asked, or has the
        version and not its files.
        """
        tracking = _tracking_of(run)
        key = tracking.mlflow_uri, tracking.registered_model
        if key not in self._copies:
            try:
                self._copies[key] = _read_copies(tracking)
            except RegistryError as error:  # each run would wait for it again
                self._copies[key] = error
        if isinstance(copies := self._copies[key], RegistryError):
            raise copies
        try:
            paths = model_files(run / "model")
        except ModelFolderError as error:
            raise RegistryError(str(error)) from None
        files = {path.name: file_sha256(path) for path in paths}
        found = min((copy for copy in copies if copy.files == files), key=lambda copy: not copy.aliases, default=None)
        if found is not None and not found.aliases:
            check_stored(tracking, found.version, {path.name: path.stat().st_size for path in paths})
        return found


def _tracking_of(run: Path) -> TrackingConfig:
    try:
        tree = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return TrackingConfig.model_validate(tree["tracking"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise RegistryError(f"{run / 'config.yaml'}: does not say which registry ({type(error).__name__})") from None


def _read_copies(tracking: TrackingConfig) -> list[Copy]:
    database = sqlite_path(tracking)
    if database is not None and not database.is_file():  # asking would make an empty one
        raise RegistryError(f"registry {tracking.mlflow_uri}: no such file")
    with open_registry(tracking, write=False) as client:
        aliases = read_record(client, tracking).aliases
        versions = [
            (version, files)
            for version in client.search_model_versions(f"name = '{tracking.registered_model}'")
            if version.status == "READY" and (files := hashes_of(version.tags, FILES_TAG)) is not None
        ]
    return [
        Copy(
            str(version.version),
            tuple(sorted(alias for alias, at in aliases.items() if at == str(version.version))),
            files,
        )
        for version, files in versions
    ]
