"""Whether a file is the GGUF file that is expected; imports nothing heavy, so it is asked before all else."""

import re
from pathlib import Path

from sgpo.files import file_sha256
from sgpo.rollouts.model_error import ModelFolderError

_MAGIC, _SHA256 = b"GGUF", re.compile("[0-9a-fA-F]{64}")


def check_gguf_file(file: Path, sha256: str | None) -> str:
    """Return the sha256 of the file. Raises ModelFolderError where it is not what is expected."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise ModelFolderError(f"{file}: cannot be read ({error.strerror}; expected a GGUF file)") from None
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ModelFolderError(f"{file}: sha256 is to be '{sha256}' (expected 64 hexadecimal digits)")
    if magic != _MAGIC:
        raise ModelFolderError(f"{file}: begins with {magic!r} (expected a GGUF file, which begins with {_MAGIC!r})")
    found = file_sha256(file)
    if sha256 is not None and found != sha256.lower():
        raise ModelFolderError(f"{file}: sha256 is {found} (expected {sha256.lower()}: fetch the file again)")
    return found
