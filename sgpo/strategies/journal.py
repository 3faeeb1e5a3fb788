"""Nothing is requested twice: every completion is appended to a journal, and a repeated request is answered from it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from sgpo.strategies.teacher import Completion, Message, Teacher


class JournalError(RuntimeError):
    """A journal that cannot be used; the message names file and line."""


class RecordedTeacher:
    """A teacher with a journal, itself a Teacher; use it as a context manager.

    The journal is JSONL, one completion per line, keyed by everything that a request consists of: teacher, messages
    (hence problem, response, prompt version), seed (hence run seed, problem id, candidate) and temperature. Only keys
    and file offsets are held in memory. A line cut by a crash is removed when the journal is opened again.
    """

    def __init__(self, teacher: Teacher, path: Path) -> None:
        self._teacher = teacher
        self._path = path
        self._offsets: dict[str, int] = {}
        self.asked = 0
        self.reused = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0

    @property
    def name(self) -> str:
        return self._teacher.name

    def __enter__(self) -> RecordedTeacher:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._index()
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"{self._path}: another run is writing this journal (wait, or name another)") from None
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def complete(self, messages: Sequence[Message], *, seed: int, temperature: float) -> Completion:
        """The recorded completion of this very request, or else the teacher's, which is then recorded."""
        key = _request_key(self.name, messages, seed, temperature)
        if key in self._offsets:
            self.reused += 1
            self._file.seek(self._offsets[key])
            return Completion(**json.loads(self._file.readline())["completion"])
        completion = self._teacher.complete(messages, seed=seed, temperature=temperature)
        record = {"key": key, "teacher": self.name, "seed": seed, "completion": asdict(completion)}
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record).encode("ascii") + b"\n")
        self._file.flush()  # a killed process loses nothing; only a power cut may take the last lines
        self._offsets[key] = offset
        self.asked += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        return completion

    def _index(self) -> None:
        self._file.seek(0)
        offset = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record: dict[str, Any] = json.loads(line)
                self._offsets[record["key"]] = offset
                Completion(**record["completion"])
            except (ValueError, TypeError, KeyError):
                raise JournalError(
                    f"{self._path} line {number}: not a recorded completion (remove the line; it is requested again)"
                ) from None
            offset += len(line)
        self._file.truncate(offset)


def _request_key(teacher: str, messages: Sequence[Message], seed: int, temperature: float) -> str:
    request = [teacher, [[message.role, message.content] for message in messages], seed, float(temperature)]
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()[:32]
