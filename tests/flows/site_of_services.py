"""Real services on loopback, as `sgpo up` starts them, in a checkout of their own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tiny_checkout import environment_of
from urllib3 import Retry

from sgpo.config import TrackingConfig

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Site:
    """A checkout with running services."""

    checkout: Path
    ports: dict[str, int]
    tracking: TrackingConfig
    extra_environment: dict[str, str] = field(default_factory=dict)
    notifications: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        api = f"http://127.0.0.1:{self.ports['prefect']}/api"
        return {**environment_of(self.checkout), "PREFECT_API_URL": api, **self.extra_environment}

    def python(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> str:
        ports = [argument for name, port in self.ports.items() for argument in (f"--port-{name}", str(port))]
        return self.python("-m", "sgpo.cli", "up", "--s3", *ports)

    def down(self) -> None:
        self.python("-m", "sgpo.cli", "down")

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        """The API's answer. It says 503 while its database is locked, and its own client asks again, as here."""
        again = Retry(8, status_forcelist=[503], allowed_methods=None, backoff_factor=0.2)
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=again))
            answer = session.post(f"{self.environment['PREFECT_API_URL']}/{path}", json=body, timeout=60)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def delete(self, path: str) -> None:
        url = f"{self.environment['PREFECT_API_URL']}/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60):
            pass

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Runs of the deployment of this name, the newest first."""
        found = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC"}
        return [run for run in self.prefect("flow_runs/filter", found) if run["deployment_id"]]

    def start(self, name: str, **parameters: Any) -> str:
        (deployment,) = self.prefect("deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return self.prefect(f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]

    def artifact(self, key: str, flow_run: str) -> str:
        found = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [flow_run]}}}
        return self.prefect("artifacts/filter", found)[0]["data"]


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def wait_until(condition: Callable[[], Any], seconds: float, what: str, log: Path | None = None) -> Any:
    """The condition's value, when it is true at last."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        end = log.read_text()[-3000:] if log else ""
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}\n{end}"
        time.sleep(0.3)
    return value


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports
