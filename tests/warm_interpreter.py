"""`python -I -S warm_interpreter.py <socket> <arguments of python…>`: those arguments in a fork of `warm_python`.

It is there in a fiftieth of a second, as it imports next to nothing, and stands for the fork: what it is sent goes
to the fork, and it ends as the fork does.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Ask for the fork; exits as it does, by the same signal where it was one."""
    address, *arguments = sys.argv[1:]
    replies = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    replies.connect(f"\0{address}")
    request = {"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}
    passed_on = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)  # until there is somebody to pass them to
    socket.send_fds(replies, [json.dumps(request).encode()], [1, 2])
    fork = int(replies.recv(64))
    for number in passed_on:
        signal.signal(number, lambda number, _: os.kill(fork, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    code = int(replies.recv(64))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
