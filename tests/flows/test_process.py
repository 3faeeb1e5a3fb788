"""A command of a flow: streamed, ended with its parent, and tried again only when that can help."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prefect import flow, task

from flows.process import REPOSITORY, CommandFailed, can_help_to_retry, run_command, training_command
from sgpo.registry.store import RegistryError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def run_in_flow(command: list[str], **settings: object) -> None:
    """The command as a task of a flow, with the retries that the flows here have."""

    @task(retries=2, retry_condition_fn=can_help_to_retry)
    def command_task() -> None:
        run_command(command, **settings)  # pyright: ignore[reportArgumentType]

    @flow
    def command_flow() -> None:
        command_task()

    command_flow()


def test_lines_of_the_command_reach_the_run_log_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    program = "import sys, time; print('first 100%'); print('second', file=sys.stderr); time.sleep(0.5); print('third')"
    with caplog.at_level(logging.INFO, logger="prefect"):
        run_in_flow(python(program))
    said = {record.getMessage(): record.created for record in caplog.records}
    assert [line for line in said if line in ("first 100%", "second", "third")] == ["first 100%", "second", "third"]
    assert said["third"] - said["first 100%"] > 0.4


def test_lines_that_are_unsaid_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="prefect"):
        run_in_flow(python("print('advice: sleep'); print('news')"), unsaid=("advice",))
    assert "news" in caplog.messages
    assert "advice: sleep" not in caplog.messages


def test_a_user_error_names_its_last_lines_and_is_not_tried_again(tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[1], 'a').write('x'); print('1\\n2\\n3\\nConfigError: seed is -1'); sys.exit(1)"
    with pytest.raises(CommandFailed, match=r"exited with 1: 2 \| 3 \| ConfigError: seed is -1$") as failed:
        run_in_flow(python(program, str(tmp_path / "tries")))
    assert failed.value.code == 1
    assert (tmp_path / "tries").read_text() == "x"


def test_a_crashed_command_is_tried_again(tmp_path: Path) -> None:
    program = (
        "import os, sys; tries = open(sys.argv[1], 'a+'); tries.write('x'); tries.flush(); tries.seek(0);"
        "os.kill(os.getpid(), 11) if len(tries.read()) < 3 else None"
    )
    run_in_flow(python(program, str(tmp_path / "tries")))
    assert (tmp_path / "tries").read_text() == "xxx"


def test_a_preempted_training_says_that_it_goes_on_and_is_tried_again(tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[1], 'a').write('x'); print('PreemptedError: step 3 of 9'); sys.exit(75)"
    with pytest.raises(CommandFailed, match=r"exited with 75 \(preempted, .*; resumes from its checkpoint\): Preem"):
        run_in_flow(python(program, str(tmp_path / "tries")))
    assert (tmp_path / "tries").read_text() == "xxx"


def test_a_byte_that_is_no_text_is_shown_as_such_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    program = "import sys; sys.stdout.buffer.write(b'caf\\xe9 \\xc3\\xa9\\n'); print('goes on')"
    with caplog.at_level(logging.INFO, logger="prefect"):
        run_in_flow(python(program))
    assert "caf\N{REPLACEMENT CHARACTER} \N{LATIN SMALL LETTER E WITH ACUTE}" in caplog.messages
    assert "goes on" in caplog.messages


def test_a_command_killed_by_a_signal_says_so(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failed:
        run_in_flow(python("import os; os.kill(os.getpid(), 9)"))
    assert failed.value.code == -signal.SIGKILL


def test_a_command_and_its_children_end_when_the_flow_is_killed(tmp_path: Path) -> None:
    grandchild = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}, sys.argv[1]])"
    parent = (
        "import os, subprocess, sys; subprocess.run([sys.executable, '-m', 'flows.child', str(os.getpid()),"
        f" sys.executable, '-c', {child!r}, sys.argv[1]])"
    )
    flow_process = subprocess.Popen(python(parent, str(tmp_path / "pid")), cwd=REPOSITORY)
    pid = _written_pid(tmp_path / "pid")
    flow_process.send_signal(signal.SIGKILL)
    flow_process.wait()
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline, "the grandchild goes on after its flow was killed"
        time.sleep(0.05)


def test_several_training_processes_run_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGPO_TRAINING_PYTHON", "/other/python")
    assert training_command(1, "train") == ["/other/python", "-m", "sgpo.cli", "train"]
    launched = training_command(2, "train")
    assert launched[:3] == ["/other/python", "-m", "sgpo.training.launch"]
    assert "--nproc-per-node=2" in launched
    assert launched[-4:] == ["-m", "--", "sgpo.cli", "train"]


def _written_pid(path: Path) -> int:
    deadline = time.monotonic() + 20
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, "the grandchild did not start"
        time.sleep(0.05)
    return int(path.read_text())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_a_command_that_is_stopped_can_still_write_and_say_what_it_has_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe closed too early would kill training with a broken pipe while it writes its checkpoint."""
    checkpoint = tmp_path / "checkpoint"
    program = (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    print('ending after this step', flush=True); time.sleep(0.5)\n"
        "    print('checkpoint written', flush=True); open(sys.argv[1], 'w').close(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop); print('step 1', flush=True); time.sleep(60)\n"
    )

    class Cancelled(BaseException):
        """As Prefect's TerminationSignal, which is no Exception either."""

    @flow
    def training() -> None:
        def cancel(line: str) -> None:
            if line == "step 1":
                raise Cancelled

        try:
            run_command(python(program, str(checkpoint)), on_line=cancel)
        except Cancelled:
            return

    with caplog.at_level(logging.INFO, logger="prefect"):
        training()
    assert checkpoint.exists()
    assert [line for line in caplog.messages if line in ("step 1", "ending after this step", "checkpoint written")] == [
        "step 1", "ending after this step", "checkpoint written",
    ]  # fmt: skip


@pytest.mark.parametrize(("cause", "tries"), [(None, 1), (ConnectionError("refused"), 3)])
def test_a_registry_that_does_not_answer_is_asked_again_but_not_for_what_it_does_not_have(
    cause: Exception | None, tries: int
) -> None:
    asked: list[int] = []

    @task(retries=2, retry_condition_fn=can_help_to_retry)
    def ask() -> None:
        asked.append(1)
        raise RegistryError("no such version") from cause

    @flow
    def asking() -> None:
        ask()

    with pytest.raises(RegistryError):
        asking()
    assert len(asked) == tries
