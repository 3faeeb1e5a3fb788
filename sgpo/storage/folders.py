"""Whole folders in the storage: content first, the manifest last, and a reader sees only what has a manifest.

A folder `name` is `name/manifest.json` and, for every file, `name/content/<sha256>/<path>`. Because the key holds the
sha256, two writers cannot mix their files, and one that is interrupted sends only what is missing when it begins again.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sgpo.files import file_sha256, publish_file, replace_folder
from sgpo.storage.manifest import Manifest, Notes, StoredFile, check_name, folder_files, parse_manifest
from sgpo.storage.objects import ObjectStore, PreconditionError, SpoiledError, StorageError, UnreachableError
from sgpo.storage.readback import difference, error_code

_MANIFEST = "manifest.json"
_OF_A_FOLDER = re.compile(rf"(?P<name>.+?)/({_MANIFEST}|content/[0-9a-f]{{64}}/.+)")


@dataclass(frozen=True, slots=True)
class Publication:
    """What `push_folder` did: the manifest that is there now, and how many files were sent."""

    manifest: Manifest
    sent: int


def push_folder(
    store: ObjectStore,
    folder: Path,
    name: str,
    *,
    replace: bool = False,
    notes: Notes | None = None,
    files: Mapping[str, StoredFile] | None = None,
) -> Publication:
    """Publish `folder` as `name`; nothing is sent twice, and nothing at all when the same files are there already.

    No manifest vouches for a file that was not read back. SpoiledError when the server gives back something else.
    `files` is what to send, by path, where that is known; otherwise every file is read once more for its sha256. Of
    several writers exactly one publishes. Raises StorageError when another folder is there, or came first; with
    `replace` the one that is there at the start is replaced.
    """
    check_name(name)
    files = folder_files(folder) if files is None else dict(files)
    there = _replaceable(store, name, files, replace)
    proven = there[0].files if there is not None else {}
    if there is not None and there[0].files == files:
        manifest, sent = there[0], _send_missing(store, folder, name, files, proven)
    else:
        sent = _send_missing(store, folder, name, files, proven)
        manifest = _publish(store, name, Manifest(files=files, notes=notes or {}), there[1] if there else None)
        # Whoever replaced or deleted what was there before may have taken an object that we found and counted on.
        sent += _send_missing(store, folder, name, files, proven=files)
    if replace:  # also what an outage kept an earlier one from deleting
        _delete_content(store, name, keep=files)
    return Publication(manifest, sent)


def files_to_send(store: ObjectStore, folder: Path, name: str, *, replace: bool = False) -> dict[str, StoredFile]:
    """Return what `push_folder` would send of `folder`, by path; sends nothing. Raises StorageError as it does."""
    check_name(name)
    files = folder_files(folder)
    _replaceable(store, name, files, replace)
    there = store.keys(f"{name}/content/")
    return {path: file for path, file in files.items() if there.get(_content_key(name, path, file)) != file.size}


def files_to_fetch(store: ObjectStore, name: str, target: Path) -> tuple[Manifest, dict[str, StoredFile]]:
    """Return the manifest of `name`, and what `pull_folder` would fetch into `target`, by path; fetches nothing."""
    manifest, aside = _existing(store, name), _aside(target)
    return manifest, {path: file for path, file in manifest.files.items() if not _is_whole(aside / path, file)}


def pull_folder(store: ObjectStore, name: str, target: Path) -> Manifest:
    """Fetch `name` into `target`, replacing what is there; every file's sha256 is checked before `target` appears.

    One that is interrupted keeps the files that it has whole beside `target`, and fetches only what is missing when it
    begins again; where it has none nothing is left. StorageError names the first object that is missing or is not what
    was published, or a link beside `target` through which files would go elsewhere.
    """
    manifest = _existing(store, name)
    aside = _aside(target)
    if links := [path for path in (aside, *sorted(aside.rglob("*"))) if path.is_symlink()]:
        raise StorageError(f"{links[0]}: a link to {links[0].readlink()} (no fetch leaves one: remove it)")
    aside.mkdir(parents=True, exist_ok=True)
    try:
        for path, stored in manifest.files.items():
            if not _is_whole(aside / path, stored):
                with publish_file(aside / path) as unchecked:
                    _fetch(store, name, path, stored, unchecked)
    except BaseException:
        if not any(path.is_file() for path in aside.rglob("*")):
            forget_fetched(target)
        raise
    for file in [path for path in aside.rglob("*") if path.is_file()]:
        if file.relative_to(aside).as_posix() not in manifest.files:  # of a fetch that another version interrupted
            file.unlink()
    replace_folder(aside, target)
    return manifest


def forget_fetched(target: Path) -> None:
    """Delete what an interrupted pull into `target` left beside it to go on with."""
    shutil.rmtree(_aside(target), ignore_errors=True)


def verify_folder(store: ObjectStore, name: str) -> Manifest:
    """Read every file of `name` and check its sha256. StorageError names the first that is missing or spoiled."""
    manifest = _existing(store, name)
    for path, stored in manifest.files.items():
        with TemporaryDirectory() as folder:
            _fetch(store, name, path, stored, Path(folder) / "file")
    return manifest


def read_manifest(store: ObjectStore, name: str) -> Manifest | None:
    """Return the manifest of `name`; None when nothing is published there."""
    found = _read(store, name)
    return found[0] if found else None


def list_folders(store: ObjectStore, under: str = "", unfinished: bool = False) -> list[str]:
    """Names of the published folders that begin with `under`; with `unfinished` also those that have only content."""
    names = set()
    for key in store.keys(under):
        if (match := _OF_A_FOLDER.fullmatch(key)) and (unfinished or key == _manifest_key(match["name"])):
            names.add(match["name"])
    return sorted(name for name in names if name.startswith(under))


def delete_folder(store: ObjectStore, name: str) -> None:
    """Delete `name`, the manifest first, so that no reader begins with it; nothing happens when there is none."""
    check_name(name)
    store.delete(_manifest_key(name))
    _delete_content(store, name, keep={})
    store.abort_uploads(f"{name}/content/")


def _replaceable(
    store: ObjectStore, name: str, files: Mapping[str, StoredFile], replace: bool
) -> tuple[Manifest, str] | None:
    """Return the manifest that is there, with its entity tag. StorageError where it is of others, unless `replace`."""
    there = _read(store, name)
    if there is not None and there[0].files != files and not replace:
        raise StorageError(f"{store.where(name)}: holds another folder (expected a new name, or to replace it)")
    return there


def _is_whole(file: Path, stored: StoredFile) -> bool:
    return file.is_file() and file_sha256(file) == stored.sha256


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.fetched")


def _read(store: ObjectStore, name: str) -> tuple[Manifest, str] | None:
    """Return the manifest and its entity tag."""
    check_name(name)
    key = _manifest_key(name)
    found = store.get(key)
    return (parse_manifest(found.body, store.where(key)), found.etag) if found else None


def _publish(store: ObjectStore, name: str, manifest: Manifest, replaces: str | None) -> Manifest:
    """Put the manifest where there is none, or in the place of the one with the tag `replaces`."""
    try:
        body = manifest.model_dump_json(indent=1).encode()
        store.put(_manifest_key(name), body, only_if_new=replaces is None, if_match=replaces)
    except PreconditionError:
        # By another writer, or by our own first try whose answer was lost on the way.
        now = read_manifest(store, name)
        if now is None or (now.publication != manifest.publication and now.files != manifest.files):
            raise StorageError(f"{store.where(name)}: another writer published it meanwhile") from None
        return now
    return manifest


def _existing(store: ObjectStore, name: str) -> Manifest:
    manifest = read_manifest(store, name)
    if manifest is None:
        raise StorageError(f"{store.where(name)}: no such folder (`sgpo storage list` names those that are there)")
    return manifest


def _send_missing(
    store: ObjectStore, folder: Path, name: str, files: Mapping[str, StoredFile], proven: Mapping[str, StoredFile]
) -> int:
    """Send what is not there, and read back all that is not `proven`; returns the number of files sent.

    What an earlier push sent before it was killed is there and not proven: it is sent again when it is not the file.
    """
    there, sent = store.keys(f"{name}/content/"), 0
    for path, file in files.items():
        key = _content_key(name, path, file)
        if there.get(key) == file.size and (
            proven.get(path) == file or difference(store, key, folder / path, file) is None
        ):
            continue
        store.send_file(folder / path, key)
        sent += 1
        if (what := difference(store, key, folder / path, file)) is not None:
            raise SpoiledError(f"{folder / path}: {what} (sent to {store.where(key)})")
    return sent


def _fetch(store: ObjectStore, name: str, path: str, stored: StoredFile, file: Path) -> None:
    key = _content_key(name, path, stored)
    store.fetch_file(key, file)
    if file_sha256(file) == stored.sha256:
        return
    if file.stat().st_size != stored.size and (code := error_code(_beginning(file))) is not None:
        raise UnreachableError(f"{store.where(key)}: the server's error {code}, answered with status 200")
    raise SpoiledError(f"{store.where(key)}: not the file that was published (sha256 differs)")


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(1024)


def _delete_content(store: ObjectStore, name: str, keep: Mapping[str, StoredFile]) -> None:
    kept = {_content_key(name, path, file) for path, file in keep.items()}
    for key in store.keys(f"{name}/content/"):
        if key not in kept:
            store.delete(key)


def _manifest_key(name: str) -> str:
    return f"{name}/{_MANIFEST}"


def _content_key(name: str, path: str, file: StoredFile) -> str:
    return f"{name}/content/{file.sha256}/{path}"
