"""Running a command as a child process, its output streamed line by line into the run's log."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect.logging import get_run_logger

from sgpo.registry.store import RegistryError

REPOSITORY = Path(__file__).resolve().parent.parent
OUTAGE_S = [2.0, 10.0, 30.0, 60.0, 120.0]
"""Waits before the registry is asked again: a server that is started again meanwhile costs no run."""
USER_ERROR_CODES = (1, 2)
"""Exit codes of a bad configuration or bad input: trying again cannot help."""
GOES_ON = os.EX_TEMPFAIL
"""Exit code of a training that the same command resumes (sgpo.training.recovery.interruption, sgpo.storage)."""
_GOES_ON = "preempted, or its storage is away; resumes from its checkpoint"


class CommandFailed(RuntimeError):
    """A child process that did not exit with 0; `code` is its exit code, negative for a signal."""

    def __init__(
        self, command: Sequence[str], code: int, last_lines: Sequence[str], *, can_help_to_retry: bool | None = None
    ) -> None:
        """`can_help_to_retry` is for commands whose codes mean something else than ours; None: by the code."""
        self.command, self.code, self.last_lines = list(command), code, list(last_lines)
        self.can_help_to_retry = code not in USER_ERROR_CODES if can_help_to_retry is None else can_help_to_retry
        what = f"{code} ({_GOES_ON})" if code == GOES_ON else str(code)
        super().__init__(f"`{' '.join(command)}` exited with {what}: {' | '.join(last_lines)}")


def run_command(
    command: Sequence[str], unsaid: tuple[str, ...] = (), on_line: Callable[[str], None] | None = None
) -> None:
    """Run `command` in the repository; raises CommandFailed with its last three lines.

    Lines that begin with one of `unsaid` go nowhere; `on_line` gets all others. The command ends with this process,
    however that ends (`flows.child`).
    """
    logger = get_run_logger()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    last_lines: list[str] = []

    def hear(line: str) -> None:
        if (line := line.strip()) and not line.startswith(unsaid or "\n"):
            logger.info("%s", line)
            show(f"  {line}")
            if on_line is not None:
                on_line(line)
            last_lines[:] = [*last_lines[-2:], line]

    child = [sys.executable, "-m", "flows.child", str(os.getpid()), *command]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(child, cwd=REPOSITORY, env=environment, **pipe) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                hear(line)
        except BaseException:  # a timeout or a cancellation
            process.terminate()
            for line in process.stdout:  # a closed pipe would kill training while it writes its checkpoint
                hear(line)
            raise
    if process.returncode != 0:
        raise CommandFailed(command, process.returncode, last_lines)


def can_help_to_retry(task, task_run, state) -> bool:
    """Prefect's retry condition: everything but a user error, which would only fail again.

    A RegistryError with a cause is MLflow's or the network's; one without is ours, such as a version that is not there.
    """
    try:
        state.result()
    except CommandFailed as error:
        return error.can_help_to_retry
    except RegistryError as error:
        return error.__cause__ is not None
    except Exception as error:
        return not isinstance(error, ValueError)
    return False


def show(line: str) -> None:
    """Print for the person at the terminal, when there is one (`make demo`)."""
    if os.environ.get("SGPO_CONSOLE") == "1":
        print(line, file=sys.__stdout__, flush=True)


def training_command(processes: int, *arguments: str) -> list[str]:
    """`sgpo …` with the training environment's interpreter, under torchrun for more than one process.

    SGPO_TRAINING_PYTHON names that interpreter where training has an environment of its own (vLLM's and Prefect's
    requirements exclude each other). sgpo.training.launch is torchrun with exit codes that say why.
    """
    python = os.environ.get("SGPO_TRAINING_PYTHON", sys.executable)
    if processes == 1:
        return [python, "-m", "sgpo.cli", *arguments]
    launcher = ["-m", "sgpo.training.launch", "--standalone", f"--nproc-per-node={processes}", "-m"]
    # After "--" torchrun no longer takes our options for short forms of its own (--run for --run-path).
    return [python, *launcher, "--", "sgpo.cli", *arguments]
