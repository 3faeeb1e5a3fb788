"""`sgpo storage …`: folders in the bucket of the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgpo.cli.options import AsJson, Config

if TYPE_CHECKING:
    from sgpo.storage import Manifest, ObjectStore

storage_app = typer.Typer(no_args_is_help=True, help="Checkpoints, models and other folders on S3.")

Name = Annotated[str, typer.Argument(help="Name in the storage, such as runs/weekly-48/model")]
Folder = Annotated[Path, typer.Argument(help="Folder on this machine")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace an existing folder")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings such as storage.bucket=models")]


@storage_app.command("list")
def storage_list(
    under: Annotated[str, typer.Option(help="Only names with this prefix")] = "",
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """List the stored folders."""
    from sgpo.storage import list_folders, read_manifest

    store = _open(config, overrides)
    found = {name: read_manifest(store, name) for name in list_folders(store, under)}
    stored = {name: manifest for name, manifest in found.items() if manifest is not None}
    if as_json:
        rows = [
            {"name": name, "files": len(one.files), "size": one.size, "created": one.created, "by": one.by}
            for name, one in stored.items()
        ]
        print(json.dumps(rows, indent=2))
        return
    for name, manifest in stored.items():
        print(f"{name}  {_contents(manifest)}, {manifest.created} by {manifest.by}")


@storage_app.command("push")
def storage_push(
    folder: Folder, name: Name, replace: Replace = False, config: Config = None, overrides: Overrides = None
) -> None:
    """Store a folder; files that are already there are not sent again."""
    from sgpo.storage import push_folder

    publication = push_folder(_open(config, overrides), folder, name, replace=replace)
    print(f"{name}: {_contents(publication.manifest)}; {publication.sent} files sent")


@storage_app.command("pull")
def storage_pull(
    name: Name, folder: Folder, replace: Replace = False, config: Config = None, overrides: Overrides = None
) -> None:
    """Fetch a stored folder; checks every file's sha256."""
    from sgpo.storage import StorageError, pull_folder

    store = _open(config, overrides)
    if folder.exists() and not replace:
        raise StorageError(f"{folder}: exists (expected a new folder, or --replace)")
    print(f"{folder}: {_contents(pull_folder(store, name, folder))}")


@storage_app.command("verify")
def storage_verify(name: Name, config: Config = None, overrides: Overrides = None) -> None:
    """Read a stored folder completely and check every file's sha256."""
    from sgpo.storage import verify_folder

    print(f"{name}: {_contents(verify_folder(_open(config, overrides), name))}, all as published")


@storage_app.command("delete")
def storage_delete(name: Name, config: Config = None, overrides: Overrides = None) -> None:
    """Delete a stored folder, or what an unfinished push has left."""
    from sgpo.storage import StorageError, delete_folder, list_folders

    store = _open(config, overrides)
    if name not in list_folders(store, name, unfinished=True):
        raise StorageError(f"{store.where(name)}: no such folder (`sgpo storage list` names those that are there)")
    delete_folder(store, name)
    print(f"{name}: deleted")


def _open(config: Path | None, overrides: list[str] | None) -> ObjectStore:
    from sgpo.config import load_config
    from sgpo.storage import ObjectStore

    return ObjectStore(load_config(config, overrides or ()).storage)


def _contents(manifest: Manifest) -> str:
    return f"{len(manifest.files)} files, {manifest.size:,} bytes"
