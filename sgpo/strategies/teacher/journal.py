"""Nothing is requested twice: every completion is appended to a journal, and a repeated request is answered from it."""

import asyncio
import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sgpo.config.strategies import TeacherConfig
from sgpo.errors import UserError
from sgpo.strategies.teacher.spending import Spending, Usage
from sgpo.strategies.teacher.teacher import (
    BudgetReachedError,
    Completion,
    Message,
    RequestFailedError,
    RequestRefusedError,
    Teacher,
    TeacherError,
    request_key,
)


class JournalError(UserError):
    """A journal that cannot be used; the message names file and line."""


class RecordedTeacher:
    """A teacher with a journal, itself a Teacher; use it as an asynchronous context manager.

    The journal is JSONL, one completion per line, keyed by everything that a request consists of: teacher, messages
    (hence problem, response, prompt version), seed (hence run seed, problem id, candidate) and temperature. Only keys
    and file offsets are held in memory. A line cut by a crash is removed when the journal is opened again. An answer
    that was cut at a lower `max_tokens` than today's is asked for again.

    At most `concurrency` requests are under way, within the budget of what `purpose` (the name of one set of problems)
    has used so far, in earlier runs too. When the context ends, by an error or a cancellation too, no request is sent
    any more, and those under way have `grace_s` seconds to be answered and recorded: they are paid for.

    With `first_alone` no second request is sent before one was answered, so that settings that cannot work cost one
    request; a refusal that may be about the settings is an end (TeacherError) as long as no answer of this teacher is
    recorded, from whatever run.
    """

    def __init__(
        self,
        teacher: Teacher,
        path: Path,
        config: TeacherConfig | None = None,
        *,
        purpose: str = "",
        first_alone: bool = False,
        grace_s: float = 60.0,
    ) -> None:
        config = config or TeacherConfig()
        self._teacher = teacher
        self._path = path
        self._purpose = purpose
        self._grace_s = grace_s
        self._slots = asyncio.Semaphore(config.concurrency)
        self._under_way: dict[str, asyncio.Task[Completion]] = {}
        self._offsets: dict[str, int] = {}
        self._first_alone, self._first = first_alone, asyncio.Lock()
        self._no_use: TeacherError | None = None
        self._known = False
        self.spending = Spending(config)
        self.asked = 0
        self.reused = 0
        self.asked_usage = Usage()

    @property
    def name(self) -> str:
        return self._teacher.name

    @property
    def max_tokens(self) -> int:
        return self._teacher.max_tokens

    async def __aenter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._index()
            self._end = os.open(self._path, os.O_WRONLY | os.O_APPEND)
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
        try:
            under_way = list(self._under_way.values())
            if under_way:
                await asyncio.wait(under_way, timeout=self._grace_s)
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        finally:
            os.close(self._end)
            self._file.close()

    async def complete(self, messages: Sequence[Message], *, seed: int, temperature: float | None) -> Completion:
        """Return the recorded completion of this very request, or else the teacher's, which is then recorded."""
        key = request_key(self.name, messages, seed, temperature)
        if (recorded := self._recorded(key)) is not None:
            self.reused += 1
            return recorded
        async with self._slots:
            if self._first_alone:
                async with self._first:
                    if self._no_use is not None:
                        raise self._no_use
                    if self._first_alone:
                        return await self._first_answer(key, messages, seed, temperature)
            return await self._answer(key, messages, seed, temperature)

    async def _first_answer(
        self, key: str, messages: Sequence[Message], seed: int, temperature: float | None
    ) -> Completion:
        """Ask alone, and find out whether others can be asked at all."""
        try:
            completion = await self._answer(key, messages, seed, temperature)
        except RequestFailedError:
            self._first_alone = False  # it may be up again: how many may fail is counted elsewhere
            raise
        except RequestRefusedError as error:
            if error.about_settings and not self._known:
                self._no_use = TeacherError(f"{error} (the first request: nothing more was asked)")
                raise self._no_use from None
            raise
        except BudgetReachedError:
            raise
        except TeacherError as error:
            self._no_use = error
            raise
        self._first_alone = False
        return completion

    async def _answer(self, key: str, messages: Sequence[Message], seed: int, temperature: float | None) -> Completion:
        most = self.spending.most(messages)
        await self.spending.reserve(most)
        if (recorded := self._recorded(key)) is not None or key in self._under_way:
            await self.spending.release(most)  # the same request came first
            self.reused += 1
            return recorded or await asyncio.shield(self._under_way[key])
        request = asyncio.create_task(self._ask(key, messages, seed, temperature, most))
        self._under_way[key] = request
        return await asyncio.shield(request)

    async def _ask(
        self, key: str, messages: Sequence[Message], seed: int, temperature: float | None, most: Usage
    ) -> Completion:
        try:
            completion = await self._teacher.complete(messages, seed=seed, temperature=temperature)
            self._record(key, seed, completion)
            return completion
        finally:
            del self._under_way[key]
            await self.spending.release(most)

    def _record(self, key: str, seed: int, completion: Completion) -> None:
        record = {
            "key": key,
            "teacher": self.name,
            "purpose": self._purpose,
            "seed": seed,
            "max_tokens": self.max_tokens,
            "completion": asdict(completion),
        }
        offset = self._file.seek(0, os.SEEK_END)
        line = json.dumps(record).encode("ascii") + b"\n"
        # Unbuffered: a killed process loses nothing; only a power cut may take the last lines.
        if self._append(line) < len(line):
            self._file.truncate(offset)  # nothing may be appended to half a line
            raise JournalError(f"{self._path}: cannot be written (is the disk full?); what it holds is kept")
        self._offsets[key] = offset
        self._known = True
        self.asked += 1
        self.asked_usage += Usage(completion.prompt_tokens, completion.completion_tokens)
        self.spending.add(completion)

    def _append(self, line: bytes) -> int:
        try:
            return os.write(self._end, line)
        except OSError:
            return 0

    def _recorded(self, key: str) -> Completion | None:
        if key not in self._offsets:
            return None
        self._file.seek(self._offsets[key])
        record = json.loads(self._file.readline())
        completion = Completion(**record["completion"])
        cut = completion.finish_reason == "length" and record["max_tokens"] < self.max_tokens
        return None if cut else completion

    def _index(self) -> None:
        self._file.seek(0)
        offset = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record: dict[str, Any] = json.loads(line)
                self._offsets[record["key"]] = offset
                completion, _ = Completion(**record["completion"]), int(record["max_tokens"])
                self._known = self._known or record["teacher"] == self.name
                if record["purpose"] == self._purpose:
                    self.spending.add(completion)
            except (ValueError, TypeError, KeyError):
                raise JournalError(
                    f"{self._path} line {number}: not a recorded completion (remove the line; it is requested again)"
                ) from None
            offset += len(line)
        self._file.truncate(offset)
