"""Servers end with the process that asked for them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sgpo.config import EngineConfig
from sgpo.rollouts.engine import EngineError
from sgpo.rollouts.vllm.process import ServerProcess, devices_of, free_port, server_command

pytestmark = pytest.mark.slow

SERVER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("up", worker.pid, flush=True)
time.sleep(600)
"""
ASKER = f"""
import sys, time
from pathlib import Path
from sgpo.rollouts.vllm.process import ServerProcess
server = ServerProcess([sys.executable, "-c", {SERVER!r}], "http://127.0.0.1:9", Path(sys.argv[1]), False)
print(server.process.pid, flush=True)
time.sleep(600)
"""


def processes_when_up(keeper: int, log: Path) -> list[psutil.Process]:
    """The keeper, the server and the server's own child."""
    deadline = time.monotonic() + 60
    while not (log.exists() and "up" in log.read_text(encoding="utf-8")) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent = psutil.Process(keeper)
    found = [parent, *parent.children(recursive=True)]
    assert len(found) == 3
    return found


def assert_gone(processes: list[psutil.Process]) -> None:
    """All have ended, within a minute; one that nobody has reaped yet has ended too."""

    def ended(process: psutil.Process) -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    deadline = time.monotonic() + 60
    while not all(ended(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process for process in processes if not ended(process)] == []


def test_a_server_and_its_children_end_when_the_asking_process_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    asker = subprocess.Popen([sys.executable, "-c", ASKER, str(log)], stdout=subprocess.PIPE, text=True)
    assert asker.stdout is not None
    processes = processes_when_up(int(asker.stdout.readline()), log)
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    assert_gone(processes)


def test_stop_ends_the_server_and_its_children(tmp_path: Path) -> None:
    server = ServerProcess([sys.executable, "-c", SERVER], "http://127.0.0.1:9", tmp_path / "server.log", False)
    processes = processes_when_up(server.process.pid, server.log)
    server.stop()
    assert_gone(processes)


def test_a_server_that_does_not_start_is_one_line_with_its_log_and_last_error(tmp_path: Path) -> None:
    script = "import sys; print('loading'); sys.exit('ValueError: no such model')"
    server = ServerProcess([sys.executable, "-c", script], "http://127.0.0.1:9", tmp_path / "server.log", False)
    with pytest.raises(EngineError, match=r"ended with code 1; .*server\.log: ValueError: no such model$"):
        server.wait_until_healthy(time.monotonic() + 60)
    server.stop()


def test_a_server_that_never_answers_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    server = ServerProcess([sys.executable, "-c", SERVER], url, tmp_path / "server.log", False)
    with pytest.raises(EngineError, match=r"did not answer within engine\.start_timeout_s"):
        server.wait_until_healthy(time.monotonic() + 0.5)
    server.stop()


def test_servers_listen_on_loopback_alone_and_know_nothing_of_torchrun(tmp_path: Path, monkeypatch) -> None:
    command = server_command("model", 8123, EngineConfig(kind="vllm-server"), "float32", 512, cuda=False)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    monkeypatch.setenv("WORLD_SIZE", "8")
    script = "import os; print('size', os.environ.get('WORLD_SIZE'), os.environ['VLLM_SERVER_DEV_MODE'])"
    server = ServerProcess([sys.executable, "-c", script], "http://127.0.0.1:9", tmp_path / "server.log", False)
    assert server.process.wait(60) == 0
    assert server.log.read_text(encoding="utf-8") == "size None 1\n"
    assert os.environ["WORLD_SIZE"] == "8"


def test_every_server_has_a_gpu_of_its_own_as_far_as_they_go(tmp_path: Path) -> None:
    assert devices_of(3, None, 2) == ["0", "1", "0"]
    assert devices_of(2, "4, 6", 2) == ["4", "6"]
    assert devices_of(2, None, 0) == devices_of(2, "", 0) == [None, None]
    script = "import os; print('sees', os.environ.get('CUDA_VISIBLE_DEVICES'))"
    server = ServerProcess([sys.executable, "-c", script], "http://127.0.0.1:9", tmp_path / "log", True, "6")
    assert server.process.wait(60) == 0
    assert server.log.read_text(encoding="utf-8") == "sees 6\n"
