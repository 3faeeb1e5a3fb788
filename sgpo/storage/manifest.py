"""What a stored folder holds: the sha256 and size of every file."""

import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sgpo.files import file_sha256
from sgpo.names import is_stored_name
from sgpo.storage.objects import StorageError

Notes = dict[str, float | str]


class StoredFile(BaseModel):
    """One file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, description="Bytes")]


class Manifest(BaseModel):
    """manifest.json of a stored folder: written last, and nothing is there without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    publication: str = Field(default_factory=lambda: uuid.uuid4().hex, description="Tells two equal folders apart")
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    by: str = Field(default_factory=socket.gethostname, description="The machine that published it")
    notes: Notes = {}
    files: dict[str, StoredFile]

    @field_validator("files")
    @classmethod
    def _files_stay_inside(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        for path in files:
            parts = PurePosixPath(path).parts
            if not parts or ".." in parts or path.startswith("/"):
                raise ValueError(f"'{path}' is no path inside of a folder")
        return files

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def parse_manifest(body: bytes, where: str) -> Manifest:
    """Return the manifest; StorageError naming `where` when it is not one."""
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StorageError(f"{where}: not a manifest of this version: {place} {first['msg']}") from None


def check_name(name: str) -> None:
    """Raise StorageError when `name` cannot be a stored folder's or a lock's."""
    if not is_stored_name(name):
        raise StorageError(f"'{name}': not a name (expected one like runs/weekly-48/model)")


def folder_files(folder: Path) -> dict[str, StoredFile]:
    """sha256 and size of every file below `folder`, by its path there; StorageError when there is none.

    Also for a link that leads out of the folder, to a folder or nowhere: what it leads to may be meant for nobody.
    """
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder")
    found = sorted(folder.rglob("*"))
    for path in found:
        if path.is_symlink() and (not path.is_file() or leads_out_of(folder, path)):
            raise StorageError(
                f"{path}: a link to {path.readlink()} (expected files, or links to files of the same folder; `cp -rL` "
                "makes a copy with what links lead to)"
            )
    files = {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}
    if not files:
        raise StorageError(f"{folder}: holds no files")
    return {name: StoredFile(sha256=file_sha256(path), size=path.stat().st_size) for name, path in files.items()}


def leads_out_of(folder: Path, path: Path) -> bool:
    """Return whether a path below `folder` is, by a link, somewhere else."""
    return not path.resolve().is_relative_to(folder.resolve())
