"""A process for a model's code: bubblewrap's namespaces, no network, no new processes, and limits on all else.

bubblewrap (`bwrap`) makes the sandbox for a user without privileges: namespaces of its own for users, processes,
network and files, of which the system's are read-only and nothing else is there. What it cannot bound, the kernel's
limits and a filter of system calls do. Where it does not work, nothing runs: SandboxError says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from sgpo.errors import one_line
from sgpo.problems.domains.code.harness import MOST_CHARACTERS, READY
from sgpo.problems.domains.code.system_calls import refused_calls
from sgpo.problems.domains.registry import DomainError

State = Literal["done", "died", "timeout", "output"]
_OUTPUT = 1 << 20
"""Bytes of results that are read; more is none."""
_START_SECONDS = 20.0
"""What a sandbox may take to be there on a busy machine; no program's time."""
_MEGABYTE = 1 << 20
_WATCHED = '(while kill -0 "$PPID"; do sleep 1; done; kill -KILL 0) </dev/null >/dev/null 2>&1 & exec "$@"'
"""A shell's program: a watcher ends its process group when the process that began it is gone, then the sandbox comes.

bubblewrap that is killed in the moment before its first inner process asks to end with it leaves that one waiting for
ever. It has no program in it, but it stays; it is of the group still, and so the watcher ends it.
"""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")


class SandboxError(DomainError):
    """No sandbox here; the message says what is missing and how it comes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use. Seconds are wall and processor time; files are the scratch folder's, in memory."""

    seconds: float = 4.0
    memory_mb: int = 512
    files_mb: int = 16
    open_files: int = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a program: one value per call, as `repr` or None where it raised, or why there are none."""

    state: State
    values: tuple[str | None, ...] = ()


def run_calls(source: str, calls: Sequence[str], limits: Limits) -> Outcome:
    """Run a program and then each call (an expression) in it. Whatever it does costs its own outcome.

    Raises SandboxError where the sandbox cannot be made; a program is never run without.
    """
    job = json.dumps({"source": source, "calls": list(calls), "limits": _rlimits(limits)}).encode()
    state, output = _run(job, limits)
    if state != "done":
        return Outcome(state)
    try:
        values: Any = json.loads(output)
    except (ValueError, RecursionError):  # a program may have written there itself
        return Outcome("died")
    if not isinstance(values, list) or len(values) != len(calls):
        return Outcome("died")
    readable = (value if isinstance(value, str) and len(value) <= MOST_CHARACTERS else None for value in values)
    return Outcome("done", tuple(readable))


def check_sandbox() -> None:
    """Run a program that is fine. Raises SandboxError, naming what is missing, where that does not come out right."""
    _bwrap()
    state, output, said = _execute(json.dumps({"source": "", "calls": ["6 * 7"], "limits": {}}).encode(), Limits(60.0))
    if state != "done" or output.strip() != b'["42"]':
        why = one_line(said, 200) or f"no result ({state})"
        raise SandboxError(
            f"code runs in bubblewrap only, and that does not work here: {why} (expected unprivileged user namespaces: "
            "see user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns and the container's profile)"
        )


def _run(job: bytes, limits: Limits) -> tuple[State, bytes]:
    state, output, said = _execute(job, limits)
    if state == "not started":  # too many processes, say: one verdict is lost
        why = one_line(said, 200) or f"it was not ready within {_START_SECONDS:g} seconds"
        raise RuntimeError(f"no sandbox this time: {why}")
    return state, output


def _execute(job: bytes, limits: Limits) -> tuple[State | Literal["not started"], bytes, str]:
    """Return how the process ended, what it wrote, and what bubblewrap said of itself.

    The program is handed over once the sandbox is tied to this process (`harness`), and its time begins there. Until
    then there is our own code alone in it, which ends by itself when nobody hands it anything: killing either process,
    at whatever moment, leaves no program behind.
    """
    with tempfile.TemporaryFile() as filtered, tempfile.TemporaryFile() as said:
        filtered.write(refused_calls())
        filtered.seek(0)
        process = subprocess.Popen(
            _command(limits, filtered.fileno()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
            pass_fds=(filtered.fileno(),), env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True,
        )  # fmt: skip
        try:
            state, output = _hand_over(process, job, limits.seconds)
        finally:
            # --die-with-parent: the namespace's first process goes with bwrap, and all others with that.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        said.seek(0)
        return state, output, said.read(4096).decode("utf-8", "replace")


def _hand_over(
    process: subprocess.Popen[bytes], job: bytes, seconds: float
) -> tuple[State | Literal["not started"], bytes]:
    """Give the job to a sandbox that says it is ready, and return how it ended and the results."""
    assert process.stdin is not None
    state, sign = _read(process, _START_SECONDS, 1)
    with contextlib.suppress(BrokenPipeError), process.stdin:
        if state == "read" and sign == READY:
            process.stdin.write(job)
    if state != "read" or sign != READY:
        return "not started", b""
    state, output = _read(process, seconds, _OUTPUT + 1)
    return ("output" if state == "read" else state), output


def _read(process: subprocess.Popen[bytes], seconds: float, most: int) -> tuple[State | Literal["read"], bytes]:
    """Read until the end, the time or `most` bytes, which are "read"."""
    assert process.stdout is not None
    deadline, parts, size = time.monotonic() + seconds, list[bytes](), 0
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(process.stdout.fileno(), min(65536, most - size))
                if not part:
                    process.wait(max(0.1, deadline - time.monotonic()))
                    return ("done" if process.returncode == 0 else "died"), b"".join(parts)
                parts.append(part)
                size += len(part)
                if size == most:
                    return "read", b"".join(parts)
        return "timeout", b""
    except subprocess.TimeoutExpired:
        return "timeout", b""


def _command(limits: Limits, filter_fd: int) -> list[str]:
    python, prefix = os.path.realpath(sys.executable), sys.base_prefix
    harness = (files("sgpo.problems.domains.code") / "harness.py").read_text(encoding="utf-8")
    command = [
        _bwrap(), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
        "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8",
        "--hostname", "sandbox", "--uid", "65534", "--gid", "65534",
    ]  # fmt: skip
    for path in (*_SYSTEM, *([] if prefix == "/usr" else [prefix])):
        target = Path(path)
        if target.is_symlink() and target.parent == Path("/"):
            command += ["--symlink", os.readlink(path), path]
        elif target.exists():
            command += ["--ro-bind", path, path]
    command += [
        "--proc", "/proc", "--dev", "/dev", "--size", str(limits.files_mb * _MEGABYTE), "--tmpfs", "/tmp",
        "--chdir", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/", "--seccomp", str(filter_fd),
    ]  # fmt: skip
    return ["/bin/sh", "-c", _WATCHED, "sh", *command, "--", python, "-I", "-S", "-B", "-c", harness]


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_AS": limits.memory_mb * _MEGABYTE,
        "RLIMIT_CPU": max(1, round(limits.seconds)),
        "RLIMIT_FSIZE": limits.files_mb * _MEGABYTE,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": 64,
        "RLIMIT_CORE": 0,
    }


def _bwrap() -> str:
    found = shutil.which("bwrap")
    if not sys.platform.startswith("linux") or found is None:
        raise SandboxError(
            "code runs in bubblewrap only, and there is no `bwrap` here (expected Linux with the package bubblewrap: "
            "`apt install bubblewrap`, `dnf install bubblewrap`)"
        )
    return found
