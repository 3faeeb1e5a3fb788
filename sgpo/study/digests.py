"""Digests of what a result depends on, by contents: the same rows in a file of a newer schema are the same data."""

import functools
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from sgpo.evaluation.report import folder_digest
from sgpo.files import file_sha256


def digest_of(path: Path) -> str:
    """Return a short digest of a model's folder, of a Parquet file's rows, or of a file; read again when it changes.

    A row is what it says: fields that are empty do not count, so that a column that came later disowns nothing.
    """
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return _digest_of(path, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@functools.lru_cache(maxsize=1024)
def _digest_of(path: Path, stamps: tuple[tuple[Path, int, int], ...]) -> str:
    if path.is_dir():
        return folder_digest(path)[:16]
    if path.suffix != ".parquet":
        return file_sha256(path)[:16]
    whole = hashlib.sha256()
    for row in pq.read_table(path).to_pylist():
        said = {name: value for name, value in row.items() if value not in (None, "", []) and value is not False}
        whole.update(json.dumps(said, sort_keys=True, default=str).encode() + b"\n")
    return whole.hexdigest()[:16]
