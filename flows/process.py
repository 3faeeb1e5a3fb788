"""Running a command as a child process, its output streamed line by line into the run's log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect.logging import get_run_logger

REPOSITORY = Path(__file__).resolve().parent.parent
USER_ERROR_CODES = (1, 2)
"""Exit codes of a bad configuration or bad input: trying again cannot help."""


class CommandFailed(RuntimeError):
    """A child process that did not exit with 0; `code` is its exit code, negative for a signal."""

    def __init__(self, command: Sequence[str], code: int, last_lines: Sequence[str]) -> None:
        self.command, self.code, self.last_lines = list(command), code, list(last_lines)
        super().__init__(f"`{' '.join(command)}` exited with {code}: {' | '.join(last_lines)}")


def run_command(command: Sequence[str], unsaid: tuple[str, ...] = ()) -> None:
    """Run `command` in the repository; raises CommandFailed with its last three lines.

    Lines that begin with one of `unsaid` go nowhere. The command ends with this process, however that ends
    (`flows.child`).
    """
    logger = get_run_logger()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    last_lines: list[str] = []
    child = [sys.executable, "-m", "flows.child", str(os.getpid()), *command]
    with subprocess.Popen(
        child, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if (line := line.strip()) and not line.startswith(unsaid or "\n"):
                    logger.info("%s", line)
                    show(f"  {line}")
                    last_lines = [*last_lines[-2:], line]
        except BaseException:  # a timeout or a cancellation: waiting for the command would undo it
            process.terminate()
            raise
    if process.returncode != 0:
        raise CommandFailed(command, process.returncode, last_lines)


def can_help_to_retry(task, task_run, state) -> bool:
    """Prefect's retry condition: everything but a user error, which would only fail again."""
    try:
        state.result()
    except CommandFailed as error:
        return error.code not in USER_ERROR_CODES
    except Exception as error:
        return not isinstance(error, ValueError)
    return False


def show(line: str) -> None:
    """Print for the person at the terminal, when there is one (`make demo`)."""
    if os.environ.get("SGPO_CONSOLE") == "1":
        print(line, file=sys.__stdout__, flush=True)


def sgpo_command(*arguments: str) -> list[str]:
    """`sgpo …` with this environment's interpreter."""
    return [sys.executable, "-m", "sgpo.cli", *arguments]


def training_command(processes: int, *arguments: str) -> list[str]:
    """`sgpo …` with the training environment's interpreter, under torchrun for more than one process.

    SGPO_TRAINING_PYTHON names that interpreter where training has an environment of its own (vLLM's and Prefect's
    requirements exclude each other).
    """
    python = os.environ.get("SGPO_TRAINING_PYTHON", sys.executable)
    if processes == 1:
        return [python, "-m", "sgpo.cli", *arguments]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    # After "--" torchrun no longer takes our options for short forms of its own (--run for --run-path).
    return [python, *launcher, "--", "sgpo.cli", *arguments]
