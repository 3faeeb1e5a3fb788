"""What starts a run: events that are sent fit the triggers; automations and deployments are ones that Prefect takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows import events
from flows.process import REPOSITORY
from flows.serve import deployments

pytestmark = pytest.mark.slow

DEFINITIONS: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
TRIGGERS = {
    trigger["expect"][0]: (definition, trigger)
    for definition in DEFINITIONS
    for trigger in definition.get("triggers", [])
}
PAYLOADS = {
    events.DATA_LANDED: {"what"},
    events.PROMOTE_REQUESTED: {"run_id", "version", "who", "why", "recipe"},
    events.ROLL_BACK_REQUESTED: {"champion", "who", "why", "recipe"},
    events.CHAMPION_MOVED: {"version", "who", "why", "recipe"},
}


def test_every_event_that_is_sent_starts_one_deployment() -> None:
    sent = {value for name, value in vars(events).items() if name.isupper() and str(value).startswith("sgpo.")}
    assert sent == set(TRIGGERS) == set(PAYLOADS)
    assert {name: definition["name"] for name, (definition, _) in TRIGGERS.items()} == {
        events.DATA_LANDED: "retrain", events.PROMOTE_REQUESTED: "promote", events.ROLL_BACK_REQUESTED: "roll-back",
        events.CHAMPION_MOVED: "set-champion",
    }  # fmt: skip


@pytest.mark.parametrize("event", PAYLOADS)
def test_a_trigger_fills_parameters_of_its_flow_from_what_the_event_has(event: str) -> None:
    definition, trigger = TRIGGERS[event]
    (flow,) = (made for made in deployments() if made.name == definition["name"])
    known = flow._parameter_openapi_schema.properties  # pyright: ignore[reportPrivateUsage]
    assert trigger["parameters"].keys() <= known.keys()
    used = {name for text in trigger["parameters"].values() for name in re.findall(r"event\.payload\.(\w+)", text)}
    assert used <= PAYLOADS[event]


@pytest.mark.usefixtures("prefect_api")
def test_a_schedule_makes_runs_when_it_is_switched_on() -> None:
    """By the server's own scheduler, which an SQLAlchemy that Prefect does not know makes fail in its log only."""
    (retrain,) = (made for made in deployments() if made.name == "retrain")
    deployment = f"/deployments/{retrain.apply()}"
    with get_client(sync_client=True) as client:
        (weekly,) = client.request("GET", f"{deployment}/schedules").json()
        assert (weekly["slug"], weekly["active"]) == ("weekly", False)
        client.request("PATCH", f"{deployment}/schedules/{weekly['id']}", json={"active": True})
        client.request("POST", f"{deployment}/schedule", json={"min_runs": 3})
        asked = {"deployments": {"name": {"any_": ["retrain"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        runs = [run for run in client.request("POST", "/flow_runs/filter", json=asked).json() if run["auto_scheduled"]]
        client.request("PATCH", f"{deployment}/schedules/{weekly['id']}", json={"active": False})
    assert len(runs) >= 3  # the server's own scheduler may have come first, and makes as many as it likes
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    due = [datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Europe/Berlin")) for run in runs]
    assert {(time.isoweekday(), time.hour, time.minute) for time in due} == {(1, 3, 0)}


@pytest.mark.usefixtures("prefect_api")
def test_deployments_from_code_are_those_of_the_file() -> None:
    made = {deployment.name: deployment.apply() for deployment in deployments()}
    assert set(made) == {definition["name"] for definition in DEFINITIONS}
    with get_client(sync_client=True) as client:
        for definition in DEFINITIONS:
            deployment = client.read_deployment(made[definition["name"]])  # pyright: ignore[reportArgumentType]
            assert deployment.description == definition["description"]
            assert deployment.enforce_parameter_schema is True
            limit = deployment.global_concurrency_limit
            assert limit is not None
            assert limit.limit == definition["concurrency_limit"]["limit"]
            assert deployment.concurrency_options is not None
            assert deployment.concurrency_options.collision_strategy.value == "ENQUEUE"
            found = [(item.schedule.cron, item.schedule.timezone, item.active) for item in deployment.schedules]  # pyright: ignore[reportAttributeAccessIssue]
            assert found == [
                (item["cron"], item["timezone"], item["active"]) for item in definition.get("schedules", [])
            ]
        automations = client.request("POST", "/automations/filter", json={}).json()
    names = {automation["name"] for automation in automations}
    assert {trigger["name"] for _, trigger in TRIGGERS.values()} <= names


@pytest.mark.usefixtures("prefect_api")
def test_the_template_of_automations_is_one_that_prefect_takes() -> None:
    api = PREFECT_API_URL.value()
    assert api is not None
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "automation", "create", "--from-file", "flows/automations.yaml"],
        cwd=REPOSITORY, env={**os.environ, "PREFECT_API_URL": api}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    names = [
        item["name"] for item in yaml.safe_load((REPOSITORY / "flows" / "automations.yaml").read_text())["automations"]
    ]
    with get_client(sync_client=True) as client:
        made = {item["name"]: item for item in client.request("POST", "/automations/filter", json={}).json()}
    assert set(names) <= made.keys()
    assert all(made[name]["enabled"] for name in names)
