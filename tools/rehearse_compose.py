"""The services of infra/compose.yml without containers.

    unshare --net --mount .venv/bin/python tools/rehearse_compose.py

By hand, as root, on a machine with Debian's packages postgresql, bubblewrap and iproute2; three minutes. Every service
runs with its own command and environment from compose.yml, as an unprivileged user, on a read-only root file system
with a /tmp of its own, and under the names that it has there; its own healthcheck says when it is up. A network
namespace keeps the ports from everybody else. moto stands in for SeaweedFS, and this environment for the image's.
Then: Prefect asks for its password and knows the work pools, a worker runs a flow, MLflow stores an artifact on S3, DVC
a stage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from cryptography.fernet import Fernet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "infra"))

from validation import INFRA, REPOSITORY, environment_names

SERVICES: dict[str, Any] = yaml.safe_load((INFRA / "compose.yml").read_text(encoding="utf-8"))["services"]
USER = 10001
POSTGRES_USER = 65534
"""nobody: Postgres wants a user that /etc/passwd knows."""
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
PATIENCE_S = 300.0
Environment = dict[str, str]


def main() -> None:
    """Raises at the first thing that is not as it should be."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    values = {name: secrets.token_hex(12) for name in environment_names(INFRA / "env.example")}
    # Characters that a URL or a shell would misread.
    values |= {"PREFECT_DATABASE_PASSWORD": "p@ss/wo'rd:#1", "PREFECT_AUTH_STRING": "admin:p@ss$w:rd"}
    values |= {"MLFLOW_WEBHOOK_KEY": Fernet.generate_key().decode(), "SGPO_UID": str(USER), "SGPO_GID": str(USER)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        isolate(folder)
        stack.enter_context(postgres(folder, values))
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "8333"]
        stack.enter_context(running("s3", moto, dict(os.environ), folder))
        time.sleep(5)
        done = subprocess.run(sandboxed("buckets", folder), env=environment("buckets", values))
        assert done.returncode == 0, "buckets"
        for name in ("prefect", "mlflow", "worker"):
            process = stack.enter_context(running(name, sandboxed(name, folder), environment(name, values), folder))
            wait_until_healthy(name, process, values, folder)
        look_at_prefect(values, folder)
        look_at_mlflow(values, folder)
        look_at_dvc(values, folder)
    print("all as it should be")


def isolate(folder: Path) -> None:
    """A loopback device of our own, the services' names on it, and a copy of the checkout at /srv/sgpo."""
    assert subprocess.run(["ip", "link", "set", "lo", "up"]).returncode == 0
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(SERVICES)}\n", encoding="utf-8")
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns(".venv", ".sgpo", "runs", "data", "__pycache__", "cache", "tmp", ".hypothesis")
    shutil.copytree(REPOSITORY, checkout, ignore=ignored, symlinks=True)
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    os.makedirs("/srv/sgpo", exist_ok=True)
    for source, target in ((hosts, "/etc/hosts"), (checkout, "/srv/sgpo")):
        subprocess.run(["mount", "--bind", str(source), target], check=True)
    folder.chmod(0o755)


@contextmanager
def postgres(folder: Path, values: Environment) -> Iterator[None]:
    """A server of Debian's Postgres, prepared by databases.sh as the image's would be."""
    data = folder / "postgres"
    data.mkdir()
    os.chown(data, POSTGRES_USER, POSTGRES_USER)
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"

    def run(*command: str, **variables: str) -> None:
        subprocess.run(command, check=True, env={**os.environ, **variables}, user=POSTGRES_USER, group=POSTGRES_USER,
                       extra_groups=[], stdout=subprocess.DEVNULL, cwd="/")  # fmt: skip

    run(str(POSTGRES / "initdb"), "-D", str(data), "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
    run(str(POSTGRES / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        script = str(INFRA / "compose" / "databases.sh")
        run("bash", script, PGHOST=str(data), **environment("postgres", values))
        print("postgres: databases made")
        yield
    finally:
        run(str(POSTGRES / "pg_ctl"), "-D", str(data), "-m", "fast", "-w", "stop")


def environment(name: str, values: Environment) -> Environment:
    """The service's variables as compose would fill them in, and those of the image (infra/Dockerfile)."""
    text = (INFRA / "Dockerfile").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ENV (PATH=(?:.*\\\n)*.*)", text, re.MULTILINE)
    image = dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())
    image["PATH"] = f"{Path(sys.executable).parent}:{image['PATH']}:/usr/sbin"
    image["PYTHONPATH"] = "/srv/sgpo"  # sgpo is installed from there in the image, from elsewhere here
    own = {
        variable: re.sub(r"\$\{([A-Z0-9_]+):\?[^}]+\}", lambda found: values[found[1]], str(value))
        for variable, value in SERVICES[name].get("environment", {}).items()
    }
    return {**image, **own}


def sandboxed(name: str, folder: Path, command: list[str] | None = None) -> list[str]:
    """`command`, or the service's own, as an unprivileged user on a read-only root with an empty /tmp."""
    box = ["bwrap", "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for shared in ("/tmp", "/dev/shm"):  # as a container has them
        box += ["--perms", "1777", "--tmpfs", shared]
    # The interpreter of this environment may be in /root, which only root may enter.
    python = Path(sys.executable).resolve().parents[1]
    box += ["--perms", "0755", "--tmpfs", "/root"]
    for parent in sorted(python.parents)[2:] if python.is_relative_to("/root") else []:
        box += ["--perms", "0755", "--dir", str(parent)]
    box += ["--ro-bind", str(python), str(python)]
    box += ["--chdir", SERVICES[name].get("working_dir", "/")]
    for mount in SERVICES[name].get("volumes", []):
        source, target, *_ = mount.split(":")
        if source == "..":
            box += ["--bind", "/srv/sgpo", "/srv/sgpo"]
        elif source.startswith("."):
            shown = folder / target.lstrip("/")
            shutil.copy(INFRA / source, shown)
            shown.chmod(0o644)
        else:  # a volume: the image has the folder, owned by the service's user
            (folder / source).mkdir(exist_ok=True)
            os.chown(folder / source, USER, USER)
            os.makedirs(target, exist_ok=True)
            box += ["--bind", str(folder / source), target]
    words = [str(folder / word.lstrip("/")) if word.endswith(".py") else word for word in SERVICES[name]["command"]]
    drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    return [*box, *drop, "--bounding-set=-all", *(command or words)]


@contextmanager
def running(name: str, command: list[str], variables: Environment, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command in the background, its output in a file that is shown when something fails."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT, cwd="/")
        try:
            yield process
        except BaseException:
            print(f"--- {name}", (folder / f"{name}.log").read_text(encoding="utf-8")[-3000:], sep="\n")
            raise
        finally:
            process.terminate()
            process.wait(60)


def wait_until_healthy(name: str, process: subprocess.Popen[bytes], values: Environment, folder: Path) -> None:
    """Until the service's own healthcheck succeeds."""
    began = time.monotonic()
    check = sandboxed(name, folder, SERVICES[name]["healthcheck"]["test"][1:])
    while subprocess.run(check, env=environment(name, values), stderr=subprocess.DEVNULL).returncode != 0:
        assert process.poll() is None, f"{name}: ended with {process.returncode}"
        assert time.monotonic() - began < PATIENCE_S, f"{name}: not healthy after {PATIENCE_S:.0f} s"
        time.sleep(2)
    print(f"{name}: healthy after {time.monotonic() - began:.0f} s")


def status(url: str, **headers: str) -> int:
    """The HTTP status of a GET."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def look_at_prefect(values: Environment, folder: Path) -> None:
    """The password is asked for; both work pools are there; a flow runs in the checkout, and fails as it should."""
    assert status("http://prefect:4200/api/version") == 401

    def prefect(*arguments: str) -> str:
        command = sandboxed("worker", folder, ["prefect", *arguments])
        done = subprocess.run(command, env=environment("worker", values), text=True, capture_output=True)
        print(f"prefect {' '.join(arguments)}: exit code {done.returncode}")
        return done.stdout + done.stderr

    template = str(INFRA / "kubernetes" / "base-job-template.json")
    assert "Created work pool 'kubernetes'" in prefect(
        "work-pool", "create", "kubernetes", "--type", "kubernetes", "--base-job-template", template
    )
    for pool, kind in (("kubernetes", "kubernetes"), ("sgpo", "process")):
        found = prefect("work-pool", "inspect", pool, "--output", "json")
        assert json.loads(found)["type"] == kind, found
    deployed = prefect("--no-prompt", "deploy", "--all")
    assert "Deployment 'evaluate/evaluate' successfully created" in deployed, deployed[-2000:]
    assert "/srv/sgpo/flows/evaluate.py" in deployed
    ran = prefect("deployment", "run", "evaluate/evaluate", "--param", "run_id=none", "--watch")
    assert "Failed" in ran, ran[-2000:]
    log = (folder / "worker.log").read_text(encoding="utf-8")
    assert "runs/none: no such run" in log, log[-3000:]
    print("prefect: a flow ran in /srv/sgpo and said that there is no such run")


def look_at_mlflow(values: Environment, folder: Path) -> None:
    """An artifact goes through the server to S3; a foreign Host header is refused."""
    assert status("http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1") == 200
    assert status("http://mlflow:5000/", Host="attacker.example") == 403
    program = (
        "import boto3, mlflow, pathlib; mlflow.set_tracking_uri('http://mlflow:5000'); "
        "pathlib.Path('/tmp/note.txt').write_text('here'); run = mlflow.start_run(); "
        "mlflow.log_artifact('/tmp/note.txt'); "
        "keys = [o['Key'] for o in boto3.client('s3').list_objects_v2(Bucket='sgpo-mlflow')['Contents']]; "
        "assert any(key.endswith(run.info.run_id + '/artifacts/note.txt') for key in keys), keys"
    )
    command = sandboxed("worker", folder, ["python", "-c", program])
    assert subprocess.run(command, env=environment("worker", values)).returncode == 0
    print("mlflow: an artifact is on S3")


def look_at_dvc(values: Environment, folder: Path) -> None:
    """A stage is made in the checkout, and pushed to S3."""
    for arguments in (
        ["remote", "add", "--local", "--default", "s3", "s3://sgpo-dvc"],
        ["remote", "modify", "--local", "s3", "endpointurl", "http://s3:8333"],
        ["repro", "world"],
        ["push", "world"],
    ):
        command = sandboxed("worker", folder, ["python", "-m", "dvc", *arguments])
        done = subprocess.run(command, env=environment("worker", values), text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    print("dvc: a stage was made in /srv/sgpo and is on S3")


if __name__ == "__main__":
    main()
