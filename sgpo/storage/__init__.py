"""Folders and locks on any endpoint that speaks S3.

`objects` is the bucket, `client` the connection to it, `readback` checks that it kept what was sent, `manifest` lists
a folder's files, `folders` publishes and fetches whole folders, `lock` keeps two machines from running the same run id,
`runs` names what is stored of a run.
"""

from sgpo.storage.folders import (
    Publication,
    delete_folder,
    files_to_fetch,
    files_to_send,
    forget_fetched,
    list_folders,
    pull_folder,
    push_folder,
    read_manifest,
    verify_folder,
)
from sgpo.storage.lock import Lock, LockedError
from sgpo.storage.manifest import Manifest, StoredFile
from sgpo.storage.objects import ObjectStore, PreconditionError, SpoiledError, StorageError, UnreachableError

__all__ = [
    "Lock",
    "LockedError",
    "Manifest",
    "ObjectStore",
    "PreconditionError",
    "Publication",
    "SpoiledError",
    "StorageError",
    "StoredFile",
    "UnreachableError",
    "delete_folder",
    "files_to_fetch",
    "files_to_send",
    "forget_fetched",
    "list_folders",
    "pull_folder",
    "push_folder",
    "read_manifest",
    "verify_folder",
]
