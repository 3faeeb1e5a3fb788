"""Postgres and Ceph's radosgw from Debian's packages, and MLflow on both; all on loopback, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534
"""Postgres refuses to run as root, and wants a user that /etc/passwd knows."""


@contextmanager
def postgres(folder: Path, port: int, *databases: str) -> Iterator[str]:
    """A server of Debian's package postgresql with empty databases; yields `user@host:port` of its addresses."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        sys.exit("no Postgres (expected Debian's package postgresql)")
    data = folder / "postgres"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    for parent in [folder, *folder.parents[:-1]]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs[-1] / program), *arguments], check=True, cwd="/", user=NOBODY, group=NOBODY,
            extra_groups=[], stdout=subprocess.DEVNULL,
        )  # fmt: skip

    run("initdb", "-D", str(data), "-U", "sgpo", "--auth=trust")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data}"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        for database in databases:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "sgpo", database)
        yield f"sgpo@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop")


@contextmanager
def radosgw(folder: Path, *buckets: str) -> Iterator[dict[str, str]]:
    """Ceph's object gateway with these buckets; yields the environment that makes boto3, DVC and MLflow use it."""
    script = str(Path(__file__).resolve().parents[1] / "tests" / "storage" / "radosgw.sh")
    done = subprocess.run([script, "start", str(folder / "ceph")], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"radosgw does not start:\n{done.stderr}")
    try:
        environment = dict(re.findall(r"(\w+)=(\S+)", done.stdout))
        endpoint = environment.pop("SGPO_TEST_S3_ENDPOINT")
        environment |= {
            "AWS_ENDPOINT_URL_S3": endpoint, "MLFLOW_S3_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"
        }  # fmt: skip
        os.environ |= environment
        import boto3

        for bucket in buckets:
            boto3.client("s3").create_bucket(Bucket=bucket)
        yield environment
    finally:
        subprocess.run([script, "stop", str(folder / "ceph")])


@contextmanager
def running(
    name: str, command: list[str], folder: Path, environment: Mapping[str, str], cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server or worker for as long as the block lasts; its output is in `folder`/`name`.log."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(url: str) -> bool:
    """Whether an HTTP server answers there with success."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's value when it is true at last; exits with a line that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.5)
    return value
