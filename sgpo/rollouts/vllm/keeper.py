"""Keeps one server for as long as its owner lives: `python -m sgpo.rollouts.vllm.keeper COMMAND...`.

The asking process holds the other end of this one's standard input. When that end closes (because it was closed, or
because the process died, however suddenly) the server and everything it has started are ended.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 20.0


def main() -> None:
    """Run the command in this process's own group; end with its exit code."""
    # Sent to the whole group, of which this is the last to go. (SIG_IGN instead would be inherited by the server.)
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_when_abandoned, args=(server,), daemon=True).start()
    code = server.wait()
    os._exit(code if code >= 0 else 128 - code)  # the thread still reads; an orderly exit would wait for it


def _end_when_abandoned(server: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
