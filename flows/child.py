"""`python -m flows.child <parent's pid> <command…>`: the command, ended with all its descendants when the parent dies.

Without it, killing a flow run would leave `dvc` and the training process at work on files that the next run wants. The
command stays in the parent's process group, so that whoever signals the group (a terminal, Prefect's process worker)
reaches it too.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_S = 25.0
"""More than training takes to write its checkpoint (`training.grace_s`), and less than the 30 s after which Prefect
kills a cancelled run's process group: torchrun's processes are in groups of their own, and nobody else would end them.
"""


def main() -> None:
    """Run the command; exits as it does, by the same signal where it was one."""
    parent, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the signal was asked for
        sys.exit(128 + signal.SIGTERM)
    code = subprocess.Popen(command).wait()
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    descendants = psutil.Process().children(recursive=True)
    for process in descendants:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(descendants, timeout=GRACE_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    os._exit(128 + number)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    main()
