"""infra/compose.yml: the compose specification's schema, and what the schema cannot say."""

from __future__ import annotations

import copy
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import mlflow.environment_variables
import pytest
import yaml
from commands import UnreadableCommand, read_command
from mlflow.server.security_utils import is_allowed_host_header
from moto.server import ThreadedMotoServer
from sqlalchemy import create_engine
from validation import INFRA, REPOSITORY, compose_problems, environment_names, lease_folder, longest_silence, tool

COMPOSE = INFRA / "compose.yml"
TREE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = TREE["services"]
OURS = ("prefect", "worker", "mlflow")


def check_schema(path: Path) -> str:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))


def test_the_file_is_one_of_the_compose_specification() -> None:
    assert check_schema(COMPOSE) == ""


def test_the_file_is_pinned_unprivileged_local_and_without_secrets() -> None:
    assert compose_problems(TREE) == []


def test_the_stack_has_every_server() -> None:
    assert set(SERVICES) == {"postgres", "s3", "buckets", "prefect", "worker", "mlflow"}


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    change(tree["services"])
    return tree


@pytest.mark.parametrize(
    "change",
    [
        lambda services: services["s3"].update(port=["127.0.0.1:8333:8333"]),
        lambda services: services["mlflow"].update(command={"mlflow": "server"}),
        lambda services: services["worker"]["depends_on"].update(prefect={"condition": "service_well"}),
        lambda services: services["postgres"]["healthcheck"].update(interval=[5]),
    ],
)
def test_the_schema_refuses_a_broken_copy(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text(yaml.safe_dump(broken(change)), encoding="utf-8")
    assert "Schema validation errors" in check_schema(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s["mlflow"].update(ports=["5000:5000"]), "mlflow: port 5000:5000 is not bound to 127.0.0.1"),
        (lambda s: s["mlflow"].update(ports=["0.0.0.0:5000:5000"]), "mlflow: port 0.0.0.0:5000:5000 is not bound"),
        (lambda s: s["postgres"].update(image="postgres:latest"), "image postgres:latest is not pinned"),
        (lambda s: s["postgres"].update(image="postgres"), "image postgres is not pinned"),
        (lambda s: s["postgres"].update(image="postgres:17.6"), "image postgres:17.6 has no digest"),
        (lambda s: s["prefect"].update(image="registry.example/sgpo:0.1.0"), "names a registry's host"),
        (lambda s: s["s3"].update(user="0:0"), "s3: user '0:0' may be root"),
        (lambda s: s["s3"].pop("user"), "s3: user None may be root"),
        (lambda s: s["worker"].update(user="${SGPO_UID:-0}:${SGPO_GID:-0}"), "may be root"),
        (lambda s: s["worker"].pop("cap_drop"), "worker: keeps capabilities"),
        (lambda s: s["mlflow"]["environment"].update(PGPASSWORD="mlflow"), "mlflow: PGPASSWORD is written down"),
        (
            lambda s: s["mlflow"]["environment"].update(PGPASSWORD="${MLFLOW_DATABASE_PASSWORD}"),
            "mlflow: PGPASSWORD is written down, or may be empty",
        ),
        (lambda s: s["mlflow"].pop("healthcheck"), "mlflow: no healthcheck"),
        (lambda s: s.pop("buckets"), "mlflow: depends on buckets, which is not there"),
        (lambda s: s["s3"].update(volumes=["data:/data"]), "mounts the volume data, which is not declared"),
        (lambda s: s["buckets"].update(volumes=["./none.py:/none.py"]), "mounts ./none.py, which is not there"),
        (lambda s: s["s3"].update(networks=["outside"]), "network outside is not declared"),
    ],
)
def test_our_rules_refuse_a_broken_copy(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    assert any(problem in found for found in compose_problems(broken(change)))


def test_every_secret_is_asked_for_in_the_example_and_has_no_value_there() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{([A-Z0-9_]+):\?", text))
    assert asked == environment_names(INFRA / "env.example")
    assert re.findall(r"^[A-Z0-9_]+=(.+)$", (INFRA / "env.example").read_text(encoding="utf-8"), re.MULTILINE) == []
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "infra/.env"], cwd=REPOSITORY)
    assert ignored.returncode == 0


@pytest.mark.parametrize("name", OURS)
def test_the_commands_are_ones_that_the_programs_know(name: str) -> None:
    read_command(SERVICES[name]["command"])


def test_a_command_with_a_wrong_option_is_refused() -> None:
    for name in OURS:
        with pytest.raises(UnreadableCommand):
            read_command([*SERVICES[name]["command"], "--no-such-option=1"])


def test_prefect_reads_the_database_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings.models.root import Settings

    password = "p@ss/word:#1"
    for variable, value in SERVICES["prefect"]["environment"].items():
        monkeypatch.setenv(variable, password if "${" in value else value)
    settings = Settings()
    url = settings.server.database.connection_url
    assert url is not None
    assert url.get_secret_value() == "postgresql+asyncpg://prefect:p%40ss%2Fword%3A%231@postgres:5432/prefect"
    auth = settings.server.api.auth_string
    assert auth is not None
    assert auth.get_secret_value() == password
    assert settings.server.ui.api_url == SERVICES["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"]


def test_the_server_s_leases_are_files_on_its_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in SERVICES["prefect"]["environment"].items():
        monkeypatch.setenv(variable, value)
    (mount,) = SERVICES["prefect"]["volumes"]
    assert lease_folder().is_relative_to(mount.partition(":")[2])


def test_mlflow_s_database_address_names_a_driver_that_is_installed() -> None:
    (option,) = [word for word in SERVICES["mlflow"]["command"] if word.startswith("--backend-store-uri=")]
    # Named, not left to SQLAlchemy: its default is another one from 2.1 on.
    assert option.partition("=")[2].startswith("postgresql+psycopg2://")
    assert create_engine(option.partition("=")[2]).driver == "psycopg2"


def test_mlflow_knows_its_variables_and_accepts_its_clients_and_no_other_host() -> None:
    for variable in SERVICES["mlflow"]["environment"]:
        if variable.startswith("MLFLOW_"):
            assert hasattr(mlflow.environment_variables, variable)
    (option,) = [word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    hosts = option.removeprefix("--allowed-hosts=").split(",")
    assert is_allowed_host_header(hosts, "mlflow:5000")
    assert is_allowed_host_header(hosts, "127.0.0.1:5000")
    assert not is_allowed_host_header(hosts, "attacker.example:5000")


@pytest.mark.slow
def test_the_buckets_are_made_once_and_are_those_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
        environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        assert environment.keys() == SERVICES["buckets"]["environment"].keys()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        names = SERVICES["buckets"]["command"][2:]
        before = _buckets()  # moto's servers of one process, those of the storage's tests too, have theirs together
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, str(INFRA / "compose" / "create_buckets.py"), *names], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
        assert _buckets() - before == set(names)
    finally:
        server.stop()
    assert f"--artifacts-destination=s3://{names[0]}" in SERVICES["mlflow"]["command"]


def _buckets() -> set[str]:
    return {bucket["Name"] for bucket in boto3.client("s3", region_name="us-east-1").list_buckets()["Buckets"]}


def test_the_databases_are_those_that_are_used_and_the_script_is_clean() -> None:
    script = INFRA / "compose" / "databases.sh"
    assert tool("shellcheck", str(script)) == ""
    made = re.findall(r'^create (\w+) "\$(\w+)"$', script.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in made} == {
        SERVICES["prefect"]["environment"]["PREFECT_SERVER_DATABASE_NAME"],
        SERVICES["mlflow"]["command"][5].rpartition("/")[2],
    }
    assert {password for _, password in made} <= SERVICES["postgres"]["environment"].keys()


def test_passwords_of_the_databases_are_in_no_process_argument(tmp_path: Path) -> None:
    """The arguments of a process are everybody's to read; psql has them from its environment."""
    psql, seen = tmp_path / "psql", tmp_path / "seen"
    psql.write_text(f'#!/bin/sh\necho "$@" >> {seen}\ncat >> {seen}\n')
    psql.chmod(0o755)
    passwords = {"PREFECT_DATABASE_PASSWORD": "one-secret", "MLFLOW_DATABASE_PASSWORD": "other-secret"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["bash", str(INFRA / "compose" / "databases.sh")], check=True, env={"PATH": path, **passwords})
    told = seen.read_text()
    assert told.count("CREATE ROLE") == 2
    assert not [secret for secret in passwords.values() if secret in told]


def test_runs_of_the_worker_are_heard_of_more_often_than_the_automation_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Prefect's default, 180 s, every run that takes longer than the automation waits would be made to crash."""
    from prefect.settings.models.root import Settings

    for variable, value in SERVICES["worker"]["environment"].items():
        if variable.startswith("PREFECT_FLOWS_"):
            monkeypatch.setenv(variable, value)
    assert (Settings().flows.heartbeat_frequency or math.inf) <= longest_silence() / 2
