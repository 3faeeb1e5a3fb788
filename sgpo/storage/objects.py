"""The objects of one bucket, by boto3: an endpoint that speaks S3, chosen by configuration.

Credentials come from boto3's own chain (environment, profile, role) and are never read here. boto3 and tenacity are
imported when a store is opened, so that a process without them can import this package.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from sgpo.config import ConfigError, StorageConfig
from sgpo.errors import UserError, one_line
from sgpo.storage.client import is_of_certificates, open_client
from sgpo.storage.readback import error_code, likely_cause

_CHECKSUMS = {"sha256": {"ChecksumAlgorithm": "SHA256"}, "crc32": {"ChecksumAlgorithm": "CRC32"}, "none": {}}
_OVERLOADED = ("SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "TooManyRequests")


class StorageError(UserError):
    """What the storage refused, lost or spoiled; the message names the object."""


class UnreachableError(StorageError):
    """The storage does not answer, or answers that it cannot now: the same thing may work later."""

    exit_code = os.EX_TEMPFAIL


class SpoiledError(StorageError):
    """What the storage gives back is not what was sent; the message says how it differs."""


class PreconditionError(StorageError):
    """A conditional write that another writer was faster with."""


class _MissingError(StorageError):
    """No object of this name."""


class _ConflictError(PreconditionError):
    """Two conditional writes at the same time, of which this one was not tried: it is to be repeated."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes, its entity tag, and its age in seconds by the server's own clock."""

    body: bytes
    etag: str
    age_s: float


class ObjectStore:
    """Objects under `settings.prefix`; keys are relative to it. May be used by several threads.

    Every method raises UnreachableError when the endpoint does not answer in `settings.attempts` attempts, and
    StorageError when it refuses.
    """

    def __init__(self, settings: StorageConfig, session: Any = None) -> None:
        if settings.bucket is None:
            raise ConfigError("storage.bucket is not set (expected the name of a bucket, or no use of the storage)")
        try:
            import tenacity  # noqa: F401
            from boto3.s3.transfer import TransferConfig
            from boto3.session import Session
        except ImportError as error:
            raise ConfigError(
                f"storage.bucket is set but {error.name} is not installed here (expected the extra ops)"
            ) from None

        self.settings, self._bucket = settings, settings.bucket
        self._checksum: dict[str, Any] = _CHECKSUMS[settings.checksum]
        part = settings.part_mib * 2**20
        self._transfer = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=4)
        with self._errors(""):
            # The default region is for endpoints that have none, where the signature needs one all the same.
            self._session = session or Session(region_name=settings.region)
            self._client: Any = open_client(settings, self._session)

    def with_short_timeout(self, timeout_s: float) -> "ObjectStore":
        """Return the same store for requests that are of no use when late: two attempts of so many seconds."""
        shorter = {"timeout_s": min(timeout_s, self.settings.timeout_s), "attempts": min(2, self.settings.attempts)}
        return ObjectStore(self.settings.model_copy(update=shorter), self._session)

    def where(self, key: str) -> str:
        """Return the object's address for messages."""
        endpoint = f" at {self.settings.endpoint_url}" if self.settings.endpoint_url else ""
        return f"s3://{self._bucket}/{self._full(key)}{endpoint}"

    def put(self, key: str, body: bytes, *, only_if_new: bool = False, if_match: str | None = None) -> str:
        """Write a small object whole, and read it back; returns its entity tag.

        Raises PreconditionError when there is one already (`only_if_new`), or it is no longer the one with the tag
        `if_match`. A repeated request can meet its own first try: who must know compares what is there. SpoiledError
        when the server keeps something else than `body`.
        """
        etag = self._put_on_condition(key, body, only_if_new, if_match)
        found = self.get(key)
        if found is None:
            raise SpoiledError(f"{self.where(key)}: is not there after it was written")
        if found.etag == etag and found.body != body:  # with another tag it is what somebody else wrote since
            size = f"{len(found.body):,} bytes come back of {len(body):,}"
            cause = likely_cause(found.body, len(found.body) < len(body))
            raise SpoiledError(f"{self.where(key)}: not what was written, {size}{cause}")
        return etag

    def get(self, key: str) -> StoredObject | None:
        """Return a small object whole; None when there is none."""
        try:
            found, body = self._got(key)
        except _MissingError:
            return None
        if (code := error_code(body)) is not None:
            raise UnreachableError(f"{self.where(key)}: the server's error {code}, answered with status 200")
        # The server's clock for both, so that machines whose clocks differ agree on an age.
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return StoredObject(body, found["ETag"].strip('"'), (now - found["LastModified"]).total_seconds())

    def send_file(self, file: Path, key: str) -> None:
        """Upload a file, in parts when it is large. Raises StorageError when it changes meanwhile."""
        before = file.stat()
        with self._errors(key):
            self._client.upload_file(
                str(file), self._bucket, self._full(key), ExtraArgs=self._checksum, Config=self._transfer
            )
        after = file.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise StorageError(f"{file}: was changed while it was sent to {self.where(key)}")

    def fetch_file(self, key: str, file: Path) -> None:
        """Download an object to `file`, in parts when it is large. StorageError when there is none."""
        with self._errors(key):
            self._client.download_file(self._bucket, self._full(key), str(file), Config=self._transfer)

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes as a reader is told it; None when there is none."""
        try:
            with self._errors(key):
                return self._client.head_object(Bucket=self._bucket, Key=self._full(key))["ContentLength"]
        except _MissingError:
            return None

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes of an object from `start`, or fewer where it ends before."""
        if length == 0:  # no range can ask for this
            return b""
        return self._got(key, length, Range=f"bytes={start}-{start + length - 1}")[1]

    def keys(self, prefix: str) -> dict[str, int]:
        """Every key that begins with `prefix`, and the object's size in bytes."""
        start, pages = len(self._full("")), self._client.get_paginator("list_objects_v2")
        with self._errors(prefix):
            return {
                item["Key"][start:]: item["Size"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._full(prefix))
                for item in page.get("Contents", [])
            }

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when there is none."""
        with self._errors(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def abort_uploads(self, prefix: str) -> None:
        """Give up the uploads in parts under `prefix` that a killed process left unfinished."""
        pages = self._client.get_paginator("list_multipart_uploads")
        with self._errors(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._full(prefix)):
                for upload in page.get("Uploads", []):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def _put_on_condition(self, key: str, body: bytes, only_if_new: bool, if_match: str | None) -> str:
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        conflicts = Retrying(
            retry=retry_if_exception_type(_ConflictError), stop=stop_after_attempt(8),
            wait=wait_random_exponential(multiplier=0.1, max=2), reraise=True,
        )  # fmt: skip
        if only_if_new:
            return conflicts(self._put, key, body, {"IfNoneMatch": "*"})
        if if_match is None:
            return self._put(key, body, {})
        try:
            return conflicts(self._put, key, body, {"IfMatch": if_match})
        except PreconditionError:
            # Ceph wants the tag without the quotes that HTTP has around it, others may want it with them.
            if self._etag(key) != if_match:
                raise
            return conflicts(self._put, key, body, {"IfMatch": f'"{if_match}"'})

    def _put(self, key: str, body: bytes, condition: dict[str, str]) -> str:
        try:
            with self._errors(key):
                written = self._client.put_object(
                    Bucket=self._bucket, Key=self._full(key), Body=body, **self._checksum, **condition
                )
        except _MissingError as error:  # the one that was to be replaced
            raise PreconditionError(str(error)) from None
        if "ETag" not in written:
            raise StorageError(f"{self.where(key)}: written, but the endpoint's answer has no ETag")
        return written["ETag"].strip('"')

    def _got(self, key: str, length: int | None = None, **wanted: str) -> tuple[dict[str, Any], bytes]:
        """Return an answer and `length` bytes of its body, asked for again when the connection ends within the body."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        def get() -> tuple[dict[str, Any], bytes]:
            found = self._client.get_object(Bucket=self._bucket, Key=self._full(key), **wanted)
            return found, found["Body"].read(length)

        cut = retry_if_exception_type((IncompleteReadError, ReadTimeoutError, ResponseStreamingError))
        again = Retrying(
            retry=cut, stop=stop_after_attempt(min(4, self.settings.attempts)),
            wait=wait_random_exponential(multiplier=0.1, max=5), reraise=True,
        )  # fmt: skip
        with self._errors(key):
            return again(get)

    def _etag(self, key: str) -> str | None:
        found = self.get(key)
        return found.etag if found else None

    def _full(self, key: str) -> str:
        prefix = self.settings.prefix.strip("/")
        return f"{prefix}/{key}" if prefix else key

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """boto3's errors as ours, on one line each. OSError of our own files passes."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            innermost: BaseException = error
            if isinstance(error, Boto3Error) and isinstance(error.__context__, BotoCoreError | ClientError):
                innermost = error.__context__  # "failed to upload", and why
            raise self._translated(key, innermost) from None

    def _translated(self, key: str, error: BaseException) -> StorageError:
        from boto3.exceptions import RetriesExceededError
        from botocore import exceptions

        if isinstance(error, exceptions.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            what = f"{self.where(key)}: {one_line(error)}"
            if code in ("ConditionalRequestConflict", "OperationAborted"):
                return _ConflictError(what)
            if status == 412:
                return PreconditionError(what)
            if status == 404 and code != "NoSuchBucket":
                return _MissingError(f"{self.where(key)}: no such object")
            unreachable = status >= 500 or status == 429 or code.startswith(_OVERLOADED)
            return UnreachableError(what) if unreachable else StorageError(what)
        if is_of_certificates(error):
            hint = "expected a certificate that is trusted here: AWS_CA_BUNDLE names the file of a private authority's"
            return StorageError(f"{self.where(key)}: {one_line(error)} ({hint})")
        unanswered = (
            exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError,
            exceptions.ResponseStreamingError, RetriesExceededError,
        )  # fmt: skip
        kind = UnreachableError if isinstance(error, unanswered) else StorageError
        return kind(f"{self.where(key)}: {type(error).__name__}: {one_line(error)}")
