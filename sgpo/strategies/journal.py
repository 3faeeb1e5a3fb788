"""Nothing is requested twice: every outcome is appended to a journal, and a repeated request is answered from it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

from sgpo.strategies.settings import TeacherConfig
from sgpo.strategies.spending import Spending, Usage
from sgpo.strategies.teacher import Completion, Message, RequestRefusedError, Teacher, TeacherError, request_key

logger = logging.getLogger(__name__)


class JournalError(RuntimeError):
    """A journal that cannot be used; the message names file and line."""


class RecordedTeacher:
    """A teacher with a journal, itself a Teacher; use it as an asynchronous context manager.

    The journal is JSONL, one completion or refusal per line, keyed by everything that a request consists of: teacher,
    messages (hence problem, response, prompt version), seed (hence run seed, problem id, candidate) and temperature.
    Only keys and file offsets are held in memory. A line cut by a crash is removed when the journal is opened again.
    An answer that was cut at a lower `max_tokens` than today's is asked for again, and so is one that was refused at
    another. A refusal that cost nothing is recorded only when an answer has come after it: until then the settings may
    be at fault. (To ask again for what was refused, remove the lines with "refusal".)

    At most `concurrency` requests are under way, within the budget of what `purpose` (the name of one set of problems)
    has used so far, in earlier runs too. When the context ends, by an error or a cancellation too, no request is begun
    any more, and those under way have `grace_s` seconds to be answered and recorded: they are paid for.
    """

    def __init__(
        self,
        teacher: Teacher,
        path: Path,
        config: TeacherConfig | None = None,
        *,
        purpose: str = "",
        grace_s: float = 60.0,
    ) -> None:
        config = config or TeacherConfig()
        self._teacher = teacher
        self._path = path
        self._purpose = purpose
        self._grace_s = grace_s
        self._slots = asyncio.Semaphore(config.concurrency)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[str, asyncio.Task[Completion]] = {}
        self._ending = False
        self._offsets: dict[str, int] = {}
        self._held_back: list[dict[str, Any]] = []
        self.spending = Spending(config)
        self.asked = 0
        self.reused = 0

    @property
    def name(self) -> str:
        return self._teacher.name

    @property
    def max_tokens(self) -> int:
        return self._teacher.max_tokens

    async def __aenter__(self) -> RecordedTeacher:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._index()
            # Unbuffered: a killed process loses nothing; only a power cut may take the last lines.
            self._tail = self._path.open("ab", buffering=0)
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"{self._path}: another run is writing this journal (wait, or name another)") from None
        except BaseException:
            self._file.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        with self._file, self._tail:
            under_way = list(self._under_way.values())
            try:
                if under_way:
                    waits = f"up to {self._grace_s:g} s for {len(under_way)} answers that are paid for"
                    logger.warning("%s: waiting %s (interrupt again to lose them)", self.name, waits)
                    await asyncio.wait(under_way, timeout=self._grace_s)
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float) -> Completion:
        """The recorded completion of this very request, or else the teacher's, which is then recorded."""
        key = request_key(self.name, messages, seed, temperature)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:  # the same request twice at once is asked once
            if (recorded := self._recorded(key)) is not None:
                self.reused += 1
                if isinstance(recorded, RequestRefusedError):
                    raise recorded
                return recorded
            # A caller that was cancelled leaves its request under way.
            request = self._under_way.get(key) or await self._send(key, messages, seed, temperature)
            return await asyncio.shield(request)

    async def _send(
        self, key: str, messages: Sequence[Message], seed: int, temperature: float
    ) -> asyncio.Task[Completion]:
        """Begin the request when there is a slot and room in the budget; it holds both until it has ended."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._slots)
            await stack.enter_async_context(self.spending.room_for(messages))
            if self._ending:
                raise TeacherError(f"{self.name}: the run is ending, nothing is requested any more")
            request = asyncio.create_task(self._ask(key, messages, seed, temperature, stack.pop_all()))
            self._under_way[key] = request
            return request

    async def _ask(
        self, key: str, messages: Sequence[Message], seed: int, temperature: float, held: AsyncExitStack
    ) -> Completion:
        async with held:
            try:
                completion = await self._teacher.complete(messages, seed=seed, temperature=temperature)
                self._record(key, seed, completion)
                return completion
            except RequestRefusedError as refusal:
                self._record(key, seed, refusal)
                raise
            finally:
                del self._under_way[key]

    def _record(self, key: str, seed: int, outcome: Completion | RequestRefusedError) -> None:
        usage = Usage(outcome.prompt_tokens, outcome.completion_tokens)
        self.asked += 1
        self.spending.add(usage)
        record = {
            "key": key,
            "teacher": self.name,
            "purpose": self._purpose,
            "seed": seed,
            "max_tokens": self.max_tokens,
        }
        if isinstance(outcome, Completion):
            record["completion"] = asdict(outcome)
        else:
            record["refusal"] = {"message": str(outcome), **asdict(usage)}
        self._held_back.append(record)
        if isinstance(outcome, Completion) or usage.tokens:
            for held_back in self._held_back:
                self._append(held_back)
            self._held_back.clear()

    def _append(self, record: dict[str, Any]) -> None:
        offset = self._file.seek(0, os.SEEK_END)
        line = json.dumps(record).encode("ascii") + b"\n"
        try:
            written = self._tail.write(line)
        except OSError:
            written = 0
        if written < len(line):
            self._file.truncate(offset)  # nothing may be appended to half a line
            raise JournalError(f"{self._path}: cannot be written (is the disk full?); what it holds is kept")
        self._offsets[record["key"]] = offset

    def _recorded(self, key: str) -> Completion | RequestRefusedError | None:
        if key not in self._offsets:
            return None
        self._file.seek(self._offsets[key])
        record = json.loads(self._file.readline())
        outcome = _outcome(record)
        if isinstance(outcome, RequestRefusedError):
            return outcome if record["max_tokens"] == self.max_tokens else None
        cut = outcome.finish_reason == "length" and record["max_tokens"] < self.max_tokens
        return None if cut else outcome

    def _index(self) -> None:
        self._file.seek(0)
        offset = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record: dict[str, Any] = json.loads(line)
                self._offsets[record["key"]] = offset
                outcome, _ = _outcome(record), int(record["max_tokens"])
                if record["purpose"] == self._purpose:
                    self.spending.add(Usage(outcome.prompt_tokens, outcome.completion_tokens))
            except (ValueError, TypeError, KeyError):
                raise JournalError(
                    f"{self._path} line {number}: not a recorded completion (remove the line; it is requested again)"
                ) from None
            offset += len(line)
        self._file.truncate(offset)


def _outcome(record: dict[str, Any]) -> Completion | RequestRefusedError:
    """What a line of the journal holds; raises TypeError or KeyError where it holds neither."""
    if "refusal" in record:
        return RequestRefusedError(**record["refusal"])
    return Completion(**record["completion"])
