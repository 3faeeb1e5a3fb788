"""The local services of `sgpo up`: started on loopback, each once it can, and stopped exactly.

Prefect server, MLflow server, S3 (moto, in memory) if asked, process worker, webhook receiver if it has a secret. What
runs is in `.sgpo/services/services.json`: process id and start time, so that `down` never meets a stranger who got the
id later; and every process of a service has the mark SGPO_SERVICE in its environment, so that none is overlooked whose
parent has died. Logs are beside it.
"""

import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from sgpo.errors import UserError, one_line
from sgpo.files import write_json

FOLDER = Path(".sgpo") / "services"
MARK = "SGPO_SERVICE"
START_S = 240.0
"""A first start makes the databases; on a busy machine that takes a minute each."""
LOG_LINES = 12


class ServicesError(UserError):
    """Services that cannot be started or stopped; the message says which, why, and what would be right."""


@dataclass(frozen=True)
class Service:
    """What to start. `healthy` is asked until it says yes; `stop_s` is how long it has to end after SIGTERM.

    With `beside` it starts while those before it do, and does not wait until they are healthy.
    `after` follows its start, and each later one that finds it running; it does what is not done yet.
    With `children_first` its children are ended before it, and it lives to say what became of them.
    """

    name: str
    command: list[str]
    url: str
    healthy: Callable[[], bool]
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    stop_s: float = 15.0
    children_first: bool = False
    beside: bool = False
    after: Callable[[], None] | None = None


class Started(BaseModel):
    """One service in services.json."""

    name: str
    pid: int
    created: float
    mark: str
    url: str
    stop_s: float = 15.0
    children_first: bool = False

    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """Return the process, unless it has ended or another one has its id now."""
        try:
            process = psutil.Process(self.pid)
            # The clock that start times are told by may be set meanwhile, by less than a second.
            same = abs(process.create_time() - self.created) < 1 and _mark(process) in (self.mark, None)
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            pass
        return None

    def processes(self) -> list[psutil.Process]:
        """Return the process, its descendants, and whatever has its mark."""
        process = self.process()
        family = [process, *_descendants(process)] if process else []
        known = {member.pid for member in family}
        return family + [
            other for other in psutil.process_iter() if other.pid not in known and _mark(other) == self.mark
        ]


def start_all(services: list[Service], folder: Path, say: Callable[[str], None]) -> list[Started]:
    """Start what does not run yet, in order, each once those before it are healthy; returns all that runs.

    When one fails, the message has its last log lines, and those that this call has started are stopped again.
    """
    with _one_at_a_time(folder):
        running = {started.name: started for started in read_started(folder)}
        new: list[Started] = []
        starting: list[tuple[Service, Started, float]] = []
        try:
            for service in services:
                if not service.beside:
                    _wait_until_healthy(starting, folder, say)
                before = running.get(service.name)
                if before and before.alive():
                    say(f"{service.name:8} runs already  {before.url}")
                    if service.after and service.healthy():  # where this call's settings are not those of the start
                        service.after()
                    continue
                if before:
                    _stop(before, say)  # it has died; what it has left goes too
                begun = time.monotonic()
                started = _start(service, folder)
                new.append(started)
                running[service.name] = started
                _write(folder, list(running.values()))
                starting.append((service, started, begun))
            _wait_until_healthy(starting, folder, say)
        except BaseException:
            for started in reversed(new):
                _stop(started, say)
                del running[started.name]
            _write(folder, list(running.values()))
            raise
        return list(running.values())


def stop_all(folder: Path, say: Callable[[str], None]) -> None:
    """Stop what `start_all` has started, the last one first; nothing else."""
    with _one_at_a_time(folder):
        left = read_started(folder)
        while left:
            _stop(left[-1], say)
            left = left[:-1]
            _write(folder, left)


def read_started(folder: Path) -> list[Started]:
    """Return what has been started and not been stopped, in order. ServicesError when the file is not one of ours."""
    path = folder / "services.json"
    try:
        return _StartedFile.model_validate_json(path.read_text(encoding="utf-8")).services
    except FileNotFoundError:
        return []
    except (ValidationError, UnicodeDecodeError) as error:
        raise ServicesError(f"{path}: not the list of started services: {one_line(error)}") from None


def log_file(folder: Path, name: str) -> Path:
    """Where a service writes."""
    return folder / f"{name}.log"


def answers(url: str) -> bool:
    """Whether an HTTP server answers there with success."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


class _StartedFile(BaseModel):
    services: list[Started]


def _write(folder: Path, started: list[Started]) -> None:
    write_json(folder / "services.json", {"services": [service.model_dump() for service in started]})


def _start(service: Service, folder: Path) -> Started:
    if service.port is not None:
        _check_port(service)
    mark = secrets.token_hex(8)
    environment = {name: value for name, value in os.environ.items() if name not in service.without}
    path = log_file(folder, service.name)
    if path.is_file():
        path.replace(path.with_suffix(".log.1"))
    with path.open("wb") as log:
        process = subprocess.Popen(
            service.command, env={**environment, **service.environment, MARK: mark}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    return Started(
        name=service.name, pid=process.pid, created=psutil.Process(process.pid).create_time(), mark=mark,
        url=service.url, stop_s=service.stop_s, children_first=service.children_first,
    )  # fmt: skip


def _check_port(service: Service) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", service.port))
        except OSError as error:
            raise ServicesError(
                f"{service.name}: port {service.port} is taken ({error.strerror}; expected a free one, see "
                f"--port-{service.name}, or end the program that listens there)"
            ) from None


def _wait_until_healthy(
    starting: list[tuple[Service, Started, float]], folder: Path, say: Callable[[str], None]
) -> None:
    """Wait for each in order, and run what follows its start; none is left in the list."""
    while starting:
        service, started, begun = starting.pop(0)
        _wait_for(service, started, folder)
        if service.after:
            service.after()
        say(f"{service.name:8} started in {time.monotonic() - begun:.0f} s  {started.url}")


def _wait_for(service: Service, started: Started, folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        if not started.alive():
            raise ServicesError(f"{service.name}: ended while it started: {_last_lines(folder, service.name)}")
        if service.healthy():
            return
        if time.monotonic() > deadline:
            raise ServicesError(
                f"{service.name}: not healthy after {START_S:.0f} s: {_last_lines(folder, service.name)}"
            )
        time.sleep(0.2)


def _last_lines(folder: Path, name: str) -> str:
    path = log_file(folder, name)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"the end of {path}:", *lines])


def _stop(started: Started, say: Callable[[str], None]) -> None:
    """SIGTERM, and SIGKILL for what is left after its time."""
    begun = time.monotonic()
    process = started.process()
    everything = started.processes()
    if process and started.children_first:
        children = process.children()
        for child in children:
            _signal(child.terminate)
        psutil.wait_procs(children, timeout=started.stop_s)
    for member in [process] if process else everything:
        _signal(member.terminate)
    _, alive = psutil.wait_procs(everything, timeout=started.stop_s)
    for member in {*alive, *started.processes()}:
        _signal(member.kill)
    _, alive = psutil.wait_procs(alive, timeout=5)
    if alive:
        raise ServicesError(f"{started.name}: processes {[member.pid for member in alive]} do not end")
    say(
        f"{started.name:8} stopped in {time.monotonic() - begun:.0f} s" if everything else f"{started.name:8} had ended"
    )


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _mark(process: psutil.Process) -> str | None:
    """Empty for a process without one; None where it cannot be read, as in a process's first moment."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get(MARK, "") if environment else None


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ServicesError(f"{folder}: another `sgpo up` or `sgpo down` is at work") from None
    try:
        yield
    finally:
        lock.release()
