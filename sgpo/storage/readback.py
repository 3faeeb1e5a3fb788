"""What was written is read back: how an object differs from the file that was sent, and what is likely to blame.

A server may answer 200 and keep something else. It is asked before a manifest vouches for the file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgpo.storage.manifest import StoredFile
    from sgpo.storage.objects import ObjectStore

READ_WHOLE_BYTES = 32 * 2**20
"""Up to this size a file is read back whole: a second or less on a network that suits checkpoints, and little memory.
Larger ones, which are most of the bytes of a run, would take as long to read back as they took to send. What is known
to go wrong with them (framing, a body cut short, an error in place of the file, parts out of order) shows in the size
and in PROBE_BYTES at the beginning, in the middle and at the end."""

PROBE_BYTES = 2**20
_BEGINNING_BYTES = 1024

_FRAMING = re.compile(rb"[0-9a-fA-F]{1,16}(;chunk-signature=[0-9a-f]+)?\r\n")
_ERROR = re.compile(rb"\s*(<\?xml[^>]*>)?\s*<Error[\s>].*?<Code>(?P<code>[\w.]+)</Code>", re.DOTALL)


def difference(store: ObjectStore, key: str, file: Path, expected: StoredFile) -> str | None:
    """Return how the object differs from `file`, and what is likely to blame; None when it does not.

    Size by HEAD; then the sha256 of the whole, or the bytes of three ranges where it is larger than READ_WHOLE_BYTES.
    """
    size = store.size(key)
    if size is None:
        return "is not there after it was sent (expected a server that keeps what it answers 200 to)"
    if size != expected.size:
        beginning = store.read(key, 0, min(size, _BEGINNING_BYTES))
        return f"has {size:,} bytes there, {expected.size:,} here{likely_cause(beginning, size < expected.size)}"
    if size <= READ_WHOLE_BYTES:
        body = store.read(key, 0, size)
        if hashlib.sha256(body).hexdigest() != expected.sha256:
            return f"has another sha256 there than here{likely_cause(body, len(body) < size)}"
        return None
    with file.open("rb") as stream:
        for start in (0, (size - PROBE_BYTES) // 2, size - PROBE_BYTES):
            stream.seek(start)
            body = store.read(key, start, PROBE_BYTES)
            if body != stream.read(PROBE_BYTES):
                place = f"bytes {start:,} to {start + PROBE_BYTES:,}"
                return f"has other {place} there than here{likely_cause(body, len(body) < PROBE_BYTES)}"
    return None


def likely_cause(body: bytes, short: bool) -> str:
    """Return, as the end of a message, what the object's first bytes say of the server; empty when nothing."""
    if (code := error_code(body)) is not None:
        return f": it is the server's error {code}, answered with status 200 (try again, or use another endpoint)"
    if _FRAMING.match(body):
        return (
            ": it begins with aws-chunked framing, which the endpoint stores as it comes "
            "(set storage.checksum=none, or use an endpoint that decodes it)"
        )
    return ": it was cut short (a limit of the endpoint or of a proxy before it?)" if short else ""


def error_code(body: bytes) -> str | None:
    """Return the code of the S3 error that a body is; None when it is something else."""
    found = _ERROR.match(body[:_BEGINNING_BYTES])
    return found["code"].decode("ascii", "replace") if found else None
