"""`sgpo storage …`: folders in the bucket of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgpo.amounts import counted
from sgpo.cli.options import AsJson, Config, DryRun
from sgpo.cli.output import print_forecast, print_json, print_result

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
        print_json([_row(name, manifest) for name, manifest in stored.items()])
        return
    for name, manifest in stored.items():
        print(f"{name}  {_contents(manifest)}, {manifest.created} by {manifest.by}")


@storage_app.command("push")
def storage_push(
    folder: Folder,
    name: Name,
    replace: Replace = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Store a folder; files that are already there are not sent again."""
    from sgpo.storage import push_folder
    from sgpo.storage.forecasts import forecast_push

    store = _open(config, overrides)
    if dry_run:
        print_forecast(lambda: forecast_push(store, folder, name, replace=replace), as_json)
        return
    publication = push_folder(store, folder, name, replace=replace)
    stored, sent = publication.manifest, publication.sent
    told = {**_row(name, stored), "sent": sent}
    print_result(told, lambda: f"{name}: {_contents(stored)}; {counted(sent, 'file')} sent", as_json)


@storage_app.command("pull")
def storage_pull(
    name: Name,
    folder: Folder,
    replace: Replace = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Fetch a stored folder; checks every file's sha256."""
    from sgpo.storage import StorageError, pull_folder
    from sgpo.storage.forecasts import forecast_pull

    store = _open(config, overrides)
    if folder.exists() and not replace:
        raise StorageError(f"{folder}: exists (expected a new folder, or --replace)")
    if dry_run:
        print_forecast(lambda: forecast_pull(store, name, folder), as_json)
        return
    manifest = pull_folder(store, name, folder)
    print_result({**_row(name, manifest), "folder": folder}, lambda: f"{folder}: {_contents(manifest)}", as_json)


@storage_app.command("verify")
def storage_verify(name: Name, as_json: AsJson = False, config: Config = None, overrides: Overrides = None) -> None:
    """Read a stored folder completely and check every file's sha256."""
    from sgpo.storage import verify_folder

    manifest = verify_folder(_open(config, overrides), name)
    print_result(_row(name, manifest), lambda: f"{name}: {_contents(manifest)}, all as published", as_json)


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
    return f"{counted(len(manifest.files), 'file')}, {manifest.size:,} bytes"


def _row(name: str, manifest: Manifest) -> dict[str, Any]:
    """Return what a program is told of a stored folder."""
    return {
        "name": name, "files": len(manifest.files), "size": manifest.size, "created": manifest.created,
        "by": manifest.by,
    }  # fmt: skip
