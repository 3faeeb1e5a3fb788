"""Python processes that begin with torch, transformers and MLflow imported: forks of one that all tests share.

Importing takes such a process five to eight seconds of work, its part in a test often less than one. A fork is as real
a process as any: it has its own arguments, environment, folder and pipes, gets signals, is killed, and ends on its own.
Only what has to be seen in a fresh interpreter (imports, torchrun itself, what is killed under it) starts one.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import random
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START_S = 240.0
IMPORTS = "sgpo.training.run sgpo.cli.main mlflow.store.tracking.sqlalchemy_store mlflow.tracking sgpo.tracking.tracker"
_LONGEST = 1 << 18  # bytes of a request; an environment is a few thousand


class WarmProcess:
    """As `subprocess.Popen` with stdout=PIPE, stderr=STDOUT and text=True."""

    def __init__(self, arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> None:
        read, write = os.pipe()
        request = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        self._replies = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _lease()
        self._replies.connect(_address())
        socket.send_fds(self._replies, [json.dumps(request).encode()], [write])
        os.close(write)
        self.stdout = open(read, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.pid = int(self._replies.recv(64))
        self.returncode: int | None = None

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = int(self._replies.recv(64))
            self._replies.close()
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """The rest of its output; a process that takes longer is killed, and its exit code says so."""
        killer = threading.Timer(timeout, self.kill)
        killer.start()
        try:
            with self.stdout:
                output = self.stdout.read()
            self.wait()
        finally:
            killer.cancel()
        return output, None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmRanks:
    """So many processes that meet as those of torchrun do, which is not there to watch over them."""

    def __init__(self, processes: int, arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self._ranks = [
            WarmProcess(arguments, cwd, {**environment, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(processes)
        ]
        self.stdout = self._ranks[0].stdout
        self.returncode: int | None = None

    def communicate(self, timeout: float) -> tuple[str, None]:
        """What they have still to say, one after the other; the exit code is that of the first that has failed."""
        outputs = [rank.communicate(timeout)[0] for rank in self._ranks]
        self.returncode = next((rank.returncode for rank in self._ranks if rank.returncode), 0)
        return "".join(outputs), None

    def send_signal(self, number: int) -> None:
        """To each, as torchrun passes it on."""
        for rank in self._ranks:
            rank.send_signal(number)


def interpreter(folder: Path) -> Path:
    """A program to be given where an interpreter is asked for: SGPO_TRAINING_PYTHON, or torchrun's PYTHON_EXEC.

    It passes its arguments, its two outputs and the signals that it gets to a warm process, which dies with it.
    """
    _lease()
    program = folder / "warm-python"
    passing_on = [sys.executable, "-I", "-S", str(Path(__file__).with_name("warm_interpreter.py")), _address()[1:]]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(passing_on)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def _address() -> str:
    """An abstract socket of this run of pytest, which its workers share and which ends with its holder."""
    return f"\0sgpo-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID') or os.getpid()}"


@functools.cache
def _lease() -> socket.socket:
    """A connection that keeps the shared process alive; whoever comes first starts it."""
    deadline = time.monotonic() + START_S
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    while time.monotonic() < deadline:
        lease = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            lease.connect(_address())
            lease.send(b"lease")
            if lease.recv(64):
                return lease
        except ConnectionRefusedError:  # of two that are started at once the address takes one
            subprocess.Popen(
                [sys.executable, __file__, _address()[1:]], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except ConnectionResetError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"no shared Python process after {START_S:.0f} s")


def _serve(listener: socket.socket) -> dict[str, Any] | None:
    """Fork for every request until nobody holds a lease; returns the request in the fork that is to carry it out."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    leases: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *leases], [], [])
        if listener in ready:
            connection, _ = listener.accept()
            message, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 2)
            if descriptors:
                if os.fork() == 0:
                    _fork_and_report(connection)
                    for inherited in (listener, connection, *leases):
                        inherited.close()
                    return {**json.loads(message), "outputs": descriptors}
                for descriptor in descriptors:
                    os.close(descriptor)
                connection.close()
            else:
                connection.send(b"granted")
                leases.append(connection)
        ended = [lease for lease in leases if lease in ready and not lease.recv(64)]
        leases = [lease for lease in leases if lease not in ended]
        if ended and not leases:
            return None


def _fork_and_report(connection: socket.socket) -> None:
    """Return in a child; the process itself sends the child's id and exit code, and ends.

    The child is killed when whoever asked for it is gone.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (child := os.fork()) == 0:
        return
    connection.send(str(child).encode())
    ended = os.pidfd_open(child)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _carry_out(request: dict[str, Any]) -> None:
    """Be `python <arguments>` from here on, but for the second that clearing away all these modules would take."""
    code: Any = 0
    try:
        _run(request)
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]: as the interpreter does, before the exit functions
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _run(request: dict[str, Any]) -> None:
    outputs = request["outputs"]
    os.dup2(outputs[0], 1)
    os.dup2(outputs[-1], 2)
    for descriptor in outputs:
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    first, *rest = (argument for argument in request["arguments"] if argument != "-u")
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]: torchrun's -u
    if first == "-m":
        sys.argv, sys.path[0] = rest, request["cwd"]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    """Import, then fork on request."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(f"\0{sys.argv[1]}")
    except OSError:
        return
    listener.listen(64)
    for name in IMPORTS.split():
        __import__(name)
    assert threading.active_count() == 1, threading.enumerate()  # a fork has the calling thread only
    gc.freeze()  # what is collected in a fork is its own
    if request := _serve(listener):
        _carry_out(request)


if __name__ == "__main__":
    main()
