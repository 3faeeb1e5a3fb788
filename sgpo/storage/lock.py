"""A lock that machines share, by conditional writes: one object that says who holds it, renewed while it is held."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sgpo.storage.manifest import check_name
from sgpo.storage.objects import ObjectStore, PreconditionError, StorageError

if TYPE_CHECKING:
    from tenacity import RetryCallState

_CLOCK_STEP_S = 1.0
"""Times of objects are whole seconds."""


class LockedError(StorageError):
    """Somebody else holds the lock, or has taken it over; `etag` is of what was found."""

    def __init__(self, message: str, etag: str | None = None) -> None:
        super().__init__(message)
        self.etag = etag


class _Holder(BaseModel):
    """The lock object. It stays when the lock is given back, since not every endpoint can delete conditionally."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    host: str
    machine: str = Field(description="This boot of this machine, and this namespace of process ids")
    pid: int
    since: str
    lease_s: float
    renewals: int = 0
    released: bool = False


class Lock:
    """`with Lock(store, name):` on as many machines as one likes: only one is inside.

    The lock is renewed by a thread. One whose holder did not renew it for its lease, by the server's clock, is taken
    over; so is at once that of a process of this machine that is gone. With `wait` a lock that is held is looked at
    until its lease has run out, or its holder is seen to be alive. Raises LockedError, naming the holder.

    A holder that was away for longer and finds its lock taken over is told once by `on_lost`, from the thread that
    finds it.
    """

    def __init__(
        self, store: ObjectStore, name: str, *, wait: bool = True, on_lost: Callable[[str], None] | None = None
    ) -> None:
        check_name(name)
        self._store, self._name, self._key, self._wait, self._on_lost = store, name, f"locks/{name}.json", wait, on_lost
        lease_s = store.settings.lease_s
        self._renewing_store = store.with_short_timeout(lease_s / 3)
        self._holder = _Holder(
            token=uuid.uuid4().hex, host=socket.gethostname(), machine=_machine(), pid=os.getpid(),
            since=datetime.now(UTC).isoformat(timespec="seconds"), lease_s=lease_s,
        )  # fmt: skip
        self._etag: str | None = None
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lock {name}", daemon=True)

    def __enter__(self) -> Self:
        self._etag = self._take_patiently() if self._wait else self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._etag is not None:
            with suppress(StorageError):  # its lease runs out
                self._replace(released=True)

    @property
    def held(self) -> bool:
        """Whether the lock is held, as far as is known."""
        return self._etag is not None

    def renew(self) -> None:
        """Make sure that the lock is held, and begin its lease anew. Raises LockedError when it was taken over."""
        with self._one_at_a_time:
            if self._etag is None:
                raise LockedError(f"{self._name}: the lock was taken over by another machine")
            try:
                self._replace(renewals=self._holder.renewals + 1)
            except LockedError as error:
                self._etag = None
                if self._on_lost is not None:
                    self._on_lost(str(error))
                raise

    def _keep(self) -> None:
        while not self._ended.wait(self._holder.lease_s / 3):
            try:
                self.renew()
            except LockedError:
                return
            except StorageError:
                continue  # whether somebody took it shows when the storage answers again

    def _take_patiently(self) -> str:
        """Take the lock as soon as its lease has run out; give up when its holder renews it."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

        tags: list[str | None] = []

        def unchanged(error: BaseException) -> bool:
            tags.append(getattr(error, "etag", None))
            return isinstance(error, LockedError) and tags[0] == tags[-1]

        lease_s = self._holder.lease_s
        waiting = Retrying(
            retry=retry_if_exception(unchanged), wait=wait_fixed(max(0.5, min(5.0, lease_s / 4))),
            stop=stop_after_delay(10 * lease_s), before_sleep=_say_once, reraise=True,
        )  # fmt: skip
        return waiting(self._take)

    def _take(self) -> str:
        found = self._store.get(self._key)
        if found is None:
            return self._write(self._store, self._holder, None)
        holder = self._parse(found.body)
        if not (holder.released or found.age_s > holder.lease_s + _CLOCK_STEP_S or _is_gone(holder)):
            raise LockedError(self._held_by(holder), found.etag)
        return self._write(self._store, self._holder, found.etag)

    def _replace(self, **changes: int | bool) -> None:
        changed = self._holder.model_copy(update=changes)
        self._etag = self._write(self._renewing_store, changed, self._etag)
        self._holder = changed

    def _write(self, store: ObjectStore, holder: _Holder, replaces: str | None) -> str:
        try:
            body = holder.model_dump_json(indent=1).encode()
            return store.put(self._key, body, only_if_new=replaces is None, if_match=replaces)
        except PreconditionError:
            found = store.get(self._key)
            if found is None:
                raise LockedError(f"{self._name}: the lock was deleted by somebody") from None
            now = self._parse(found.body)
            if now.token == holder.token:  # our own first try, whose answer was lost on the way
                return found.etag
            raise LockedError(self._held_by(now), found.etag) from None

    def _parse(self, body: bytes) -> _Holder:
        try:
            return _Holder.model_validate_json(body)
        except ValidationError:
            raise StorageError(f"{self._store.where(self._key)}: not a lock of this version") from None

    def _held_by(self, holder: _Holder) -> str:
        return (
            f"{self._name}: held by process {holder.pid} of {holder.host} since {holder.since} "
            f"(expected it to end, or {holder.lease_s:g} s without a sign of it)"
        )


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        print(f"storage: waiting for {state.outcome.exception()}", file=sys.stderr, flush=True)


def _machine() -> str:
    """Where a process id means the same process. Empty where that is not known, and then nowhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_gone(holder: _Holder) -> bool:
    """Whether the holder was a process of this machine and is no more."""
    if not holder.machine or holder.machine != _machine():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
