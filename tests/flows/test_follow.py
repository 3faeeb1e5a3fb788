"""A retraining followed from a terminal, against Prefect's real API: lines, decision, failure, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run as running
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from typer.testing import CliRunner

from flows import follow, following
from flows.follow import app
from flows.following import Follower, ending_of
from flows.process import REPOSITORY
from sgpo.config import ConfigError
from sgpo.pipeline.report import Summary
from tests.report.made_run import metric_rows, summary_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]

DECISION = "refused: +0.3 points, \N{MINUS SIGN}1.9 to +2.4 (95%); the champion stays version 3"
SEEN: list[str] = []
"""Ids of the retrainings that began, in a list that Prefect does not copy."""


@flow(name="retrain", flow_run_name="retrain {run_id}", persist_result=True, result_serializer="json")
def retraining(run_id: str, failing: bool = False) -> Summary:
    """What the real one says, in seconds."""

    @task
    def train_process() -> None:
        for step in range(1, 4):
            get_run_logger().info("step %4d/3  reward 0.%d0  0:0%d left", step, step, 3 - step)
            time.sleep(1.0)

    @flow(name="train")
    def train() -> None:
        train_process()
        if failing:
            raise ConfigError("configs/mine.yaml: 'training.steps' is 0 (expected 1 or more)")

    SEEN.append(str(running.id))
    get_run_logger().info("== training")
    train()
    return Completed(message=DECISION, data=summary_of(run_id, metric_rows(2)))  # pyright: ignore[reportReturnType]


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def nothing_began() -> None:
    SEEN.clear()


def the_one_that_began() -> UUID:
    deadline = time.monotonic() + 120
    while not SEEN:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return UUID(SEEN[0])


@pytest.fixture
def client():
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the API, as `sgpo up` says to export it."""
    address = str(PREFECT_API_URL.value())
    monkeypatch.setenv("PREFECT_API_URL", address)
    return address


def test_steps_are_said_once_and_in_order_while_the_run_goes_on(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PAGE", 2)  # pages end within what the run says
    lines, came = list[str](), list[Summary]()
    thread = in_background(lambda: came.append(retraining("weekly")))
    ended = Follower(client, the_one_that_began(), lines.append).follow()
    thread.join()
    assert [line for line in lines if line.startswith(("==", "step"))] == [
        "== training", "step    1/3  reward 0.10  0:02 left", "step    2/3  reward 0.20  0:01 left",
        "step    3/3  reward 0.30  0:00 left",
    ]  # fmt: skip
    assert not [line for line in lines if "task run" in line or "Finished in state" in line]
    assert ending_of(ended) == DECISION
    assert isinstance(came[0], Summary)  # who calls the flow gets what it returned, and not Prefect's state
    assert came[0].run_id == "weekly"


def test_a_failure_is_told_by_its_reason_and_without_a_traceback(client: SyncPrefectClient) -> None:
    lines = list[str]()
    with pytest.raises(ConfigError):
        retraining("broken", failing=True)
    ended = Follower(client, the_one_that_began(), lines.append).follow()
    assert ending_of(ended) == "failed: ConfigError: configs/mine.yaml: 'training.steps' is 0 (expected 1 or more)"
    assert not re.search(r"Traceback|File \"|Encountered", "\n".join(lines))
    assert any("step    3/3" in line for line in lines)


def test_a_retraining_is_asked_for_and_found_again(client: SyncPrefectClient, address: str, tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, ["retrain", "training.steps=3"])
    assert str(asked.exception) == "no deployment retrain/retrain (expected `sgpo up`, or `prefect deploy --all`)"
    schema = {"properties": {"run_id": {"type": "string", "pattern": r"^\w+$"}, "overrides": {}}, "type": "object"}
    flow_id = client.create_flow(retraining)
    client.create_deployment(flow_id, "retrain", parameter_openapi_schema=schema, enforce_parameter_schema=True)
    refused = CliRunner().invoke(app, ["retrain", "--run-id", "a b"])
    assert "refuses it" in str(refused.exception)
    assert "a b" in str(refused.exception)
    asked = CliRunner().invoke(app, ["retrain", "--run-id", "weekly", "training.steps=3"])
    (identity,) = re.findall(r"To follow it: sgpo follow (\S+)", asked.stdout)
    run = client.read_flow_run(UUID(identity))
    assert run.parameters == {"run_id": "weekly", "overrides": ["training.steps=3"]}
    again = json.loads(CliRunner().invoke(app, ["retrain", "--run-id", "later", "--json"]).stdout)
    assert client.read_flow_run(UUID(again["flow_run"])).parameters == {"run_id": "later"}
    assert "expected one of them" in str(CliRunner().invoke(app, ["retrain", "--follow", "--json"]).exception)
    assert "no flow run" in str(CliRunner().invoke(app, ["follow", str(UUID(int=5))]).exception)
    assert "no retraining elsewhere" in str(CliRunner().invoke(app, ["follow", "elsewhere"]).exception)


def test_ctrl_c_ends_the_showing_and_says_how_to_go_on(client: SyncPrefectClient, address: str) -> None:
    run = client.create_flow_run(retraining, parameters={"run_id": "waits"})
    # As at a terminal: what a shell starts in the background has been told to ignore Ctrl-C.
    code = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "runpy.run_module('flows.follow', run_name='__main__')"
    command = [sys.executable, "-c", code, "follow", str(run.id)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ), **pipes) as process:
        assert process.stdout is not None
        assert "starts" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert f"the run goes on. To follow it again: sgpo follow {run.id}" in rest
    assert (process.returncode, errors) == (130, "")
    assert not client.read_flow_run(run.id).state.is_final()  # pyright: ignore[reportOptionalMemberAccess]


def test_a_run_that_was_deleted_and_an_address_that_is_no_api_are_one_line(
    client: SyncPrefectClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_flow_run(retraining, parameters={"run_id": "gone"})
    client.delete_flow_run(run.id)
    with monkeypatch.context() as patch:  # deleted between being found and being followed
        patch.setattr(follow, "_find", lambda client, named: run.id)
        assert "no longer on the server" in str(CliRunner().invoke(app, ["follow"]).exception)
    with temporary_settings({PREFECT_API_URL: f"{address}/nothing"}):
        assert "refused" in str(CliRunner().invoke(app, ["follow"]).exception)


def test_how_a_run_ended_is_told_though_the_server_goes_away_then(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    retraining("ended")
    follower = Follower(client, the_one_that_began(), lambda line: None)

    def away(seconds: float) -> None:
        monkeypatch.setattr(client, "read_flow_runs", refused)

    def refused(**_: object) -> None:
        raise httpx.ConnectError("Connection refused")

    assert ending_of(follower.follow(away)) == DECISION


def test_without_a_server_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "no Prefect server is known here" in str(CliRunner().invoke(app, ["follow"]).exception)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
