"""Which services `sgpo up` starts, with what settings, and when each is healthy."""

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from flows.local.processes import FOLDER, Service, ServicesError, answers
from sgpo.config import RunConfig, TrackingConfig
from sgpo.tracking.client import sqlite_path

HOST = "127.0.0.1"
POOL, WORKER = "sgpo", "sgpo-local"
SECRET_VARIABLE = "SGPO_WEBHOOK_SECRET"
_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Ports:
    """Of each service on loopback."""

    prefect: int
    mlflow: int
    webhook: int
    s3: int


def local_services(root: Path, settings: RunConfig, recipe: str, ports: Ports, *, s3: bool) -> list[Service]:
    """In the order in which they start. ServicesError when this is no checkout, or MLflow is a server elsewhere."""
    if not (root / "prefect.yaml").is_file():
        raise ServicesError(
            f"{root / 'prefect.yaml'}: no such file (expected `sgpo up` in a checkout of the repository)"
        )
    home = os.environ.get("PREFECT_HOME", str(root / ".sgpo" / "prefect"))
    common = {
        **_QUIET,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PREFECT_HOME": home,
    }
    api = f"http://{HOST}:{ports.prefect}/api"
    client = {**common, "PREFECT_API_URL": api}
    services = [_prefect(common, ports.prefect), _mlflow(root, settings, common, ports.mlflow)]
    if s3:
        services.append(_s3(common, ports.s3))
        client |= s3_environment(ports.s3)
    services.append(_worker(root, client, api, settings))
    if os.environ.get(SECRET_VARIABLE):
        services.append(_webhook(root, client, recipe, ports))
    return services


def s3_environment(port: int) -> dict[str, str]:
    """Return what makes boto3, DVC and MLflow use the local S3; its credentials are for show."""
    return {
        "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def training_limit(tracking: TrackingConfig) -> str:
    """Return the name of the concurrency limit on the registered model's trainings."""
    return _limit_name("training", tracking)


def champion_limit(tracking: TrackingConfig) -> str:
    """Return the name of the concurrency limit on changes of the registered model's champion."""
    return _limit_name("champion of", tracking)


def _limit_name(what: str, tracking: TrackingConfig) -> str:
    """Prefect's names know no / % & < >."""
    return f"{what} {re.sub(r'[/%&<>]', '-', tracking.registered_model)}"


def _prefect(common: dict[str, str], port: int) -> Service:
    return Service(
        name="prefect",
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)],
        url=f"http://{HOST}:{port}",
        healthy=lambda: answers(f"http://{HOST}:{port}/api/health"),
        port=port,
        # In memory, the default, a slot whose holder dies while the server is down would be taken for ever.
        environment={
            **common,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            # The page asks port 4200 otherwise, whatever port it came from.
            "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api",
        },
        without=(SECRET_VARIABLE, "PREFECT_API_URL"),
    )


def _mlflow(root: Path, settings: RunConfig, common: dict[str, str], port: int) -> Service:
    database = sqlite_path(settings.tracking)
    if database is None:
        raise ServicesError(
            f"tracking.mlflow_uri is {settings.tracking.mlflow_uri} (expected a SQLite file for `sgpo up` to serve)"
        )
    database.parent.mkdir(parents=True, exist_ok=True)
    artifacts = Path(settings.tracking.artifact_root).absolute()
    return Service(
        name="mlflow",
        command=[
            sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{database}", "--default-artifact-root", str(artifacts),
            "--no-serve-artifacts",
        ],
        url=f"http://{HOST}:{port}",
        healthy=lambda: answers(f"http://{HOST}:{port}/health"),
        port=port,
        beside=True,
        environment={
            **common,
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": webhook_key(root / FOLDER / "mlflow_webhook_key"),
            # Eight more processes for what is not used here.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",  # the receiver is on loopback
        },
        without=(SECRET_VARIABLE,),
    )  # fmt: skip


def _s3(common: dict[str, str], port: int) -> Service:
    return Service(
        name="s3",
        command=[sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        url=f"http://{HOST}:{port}",
        healthy=lambda: answers(f"http://{HOST}:{port}/moto-api/"),
        port=port,
        beside=True,
        environment=common,
        without=(SECRET_VARIABLE,),
    )


def _worker(root: Path, client: dict[str, str], api: str, settings: RunConfig) -> Service:
    return Service(
        name="worker",
        command=[
            sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER,
        ],
        url=f"work pool {POOL}",
        healthy=lambda: _worker_is_online(api),
        environment={
            **client,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_WORKER_QUERY_SECONDS": "3",
        },
        without=(SECRET_VARIABLE,),
        # Running flows are asked to end, have 25 s to write a checkpoint (flows/child.py), and report to the server.
        stop_s=45.0,
        children_first=True,
        after=lambda: deploy(root, client, api, settings),
    )  # fmt: skip


def _webhook(root: Path, client: dict[str, str], recipe: str, ports: Ports) -> Service:
    return Service(
        name="webhook",
        command=[
            sys.executable, "-m", "flows.webhook", "--host", HOST, "--port", str(ports.webhook), "--recipe", recipe,
            "--seen", str(root / FOLDER / "deliveries.sqlite"), "--register", f"http://{HOST}:{ports.mlflow}",
        ],
        url=f"http://{HOST}:{ports.webhook}/mlflow",
        healthy=lambda: answers(f"http://{HOST}:{ports.webhook}/health"),
        port=ports.webhook,
        environment=client,
    )  # fmt: skip


def webhook_key(path: Path) -> str:
    """Return the key with which MLflow encrypts webhook secrets; made once, readable by its owner only."""
    from cryptography.fernet import Fernet

    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(file, "w") as key:
        key.write(Fernet.generate_key().decode())
    return path.read_text(encoding="ascii").strip()


def deploy(root: Path, client: dict[str, str], api: str, settings: RunConfig) -> None:
    """`prefect deploy --all` and the limits of the settings' registered model, when something has changed.

    Else nothing is deployed: a schedule that a person turned on stays on.
    """
    note = root / FOLDER / "deployed"
    digest = _deployed_digest(root, client["PREFECT_HOME"], training_limit(settings.tracking))
    if note.is_file() and note.read_text(encoding="ascii") == digest and _post(f"{api}/deployments/count", {}):
        return
    environment = {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE} | client
    for arguments in (
        ["--no-prompt", "deploy", "--all"],
        ["gcl", "create", training_limit(settings.tracking), "--limit", "1"],
        ["gcl", "create", champion_limit(settings.tracking), "--limit", "1"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments], cwd=root, env=environment, capture_output=True, text=True
        )
        if done.returncode != 0 and "already exists" not in done.stdout + done.stderr:
            lines = (done.stdout + done.stderr).strip().splitlines()[-8:]
            raise ServicesError("\n".join([f"prefect {' '.join(arguments)} exited with {done.returncode}:", *lines]))
    note.write_text(digest, encoding="ascii")


def _deployed_digest(root: Path, home: str, limit: str) -> str:
    """Of the files that a deployment and its form are made from, of the server's database, and of the limit's name."""
    rooms = ("flows", "sgpo/config", "sgpo/algorithms")
    files = [root / "prefect.yaml", *(path for room in rooms for path in sorted((root / room).rglob("*.py")))]
    digest = hashlib.sha256(f"{home}\n{limit}\n".encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _worker_is_online(api: str) -> bool:
    try:
        workers = _post(f"{api}/work_pools/{POOL}/workers/filter", {})
    except (urllib.error.URLError, OSError):
        return False  # the worker makes the pool
    return any(worker["name"] == WORKER and worker["status"] == "ONLINE" for worker in workers)


def _post(url: str, body: dict[str, object]):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)
