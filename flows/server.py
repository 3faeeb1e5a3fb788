"""A Prefect API of the demo's own, on loopback, that ends with it.

Prefect would start one by itself, but that one goes on when the demo is killed.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 240.0
"""A first start makes the database; on a busy machine that takes a minute."""


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Yield a server on the database in `home`; yields the URL of its API. To be used before Prefect is imported."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    command = [
        sys.executable, "-m", "flows.child", str(os.getpid()), sys.executable, "-m", "uvicorn", "--factory",
        "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error",
        "--lifespan", "on",
    ]  # fmt: skip
    # A process group of its own: Ctrl-C is for the demo, which still reports to the server while it ends.
    server = subprocess.Popen(command, env=environment, cwd=Path(__file__).resolve().parent.parent, process_group=0)
    try:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        server.wait()


def wait_for(api: str) -> None:
    """Until the API answers; RuntimeError when it does not within START_S seconds."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{api}: Prefect's API does not answer after {START_S:.0f} s: {error}") from None
        time.sleep(0.1)
