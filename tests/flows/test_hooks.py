"""Run ids, names and what a failed run tells: a run that made its run id up can be gone on with."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run as running

from flows.hooks import rerun_command, tell_what_next
from flows.names import run_name
from flows.retrain import retrain
from flows.roll_back import roll_back
from flows.runs import new_run_id, run_id_of

pytestmark = pytest.mark.slow


def a_run(**settings: object) -> FlowRun:
    due = datetime(2026, 11, 23, 3, 0, tzinfo=timezone(timedelta(hours=1)))
    return FlowRun.model_validate(
        {"flow_id": uuid.uuid4(), "deployment_id": uuid.uuid4(), "expected_start_time": due, **settings}
    )


def parameters_of(command: str) -> dict[str, str]:
    """What a shell would give `prefect deployment run` as --params."""
    words = shlex.split(command)
    assert words[:3] == ["prefect", "deployment", "run"]
    return json.loads(words[words.index("--params") + 1])


def test_the_command_that_goes_on_names_the_run_id_that_the_run_made_up() -> None:
    run = a_run(parameters={"recipe": "configs/testbed.yaml", "run_id": "", "settings": None})
    command = rerun_command(retrain, run)
    assert command.startswith("prefect deployment run retrain/retrain --params ")
    assert parameters_of(command) == {
        "recipe": "configs/testbed.yaml", "run_id": f"retrain-20261123-020000-{str(run.id)[-4:]}",
    }  # fmt: skip


def test_the_command_that_goes_on_is_safe_in_a_shell_whatever_the_parameters() -> None:
    why = """it's "worse"; $(rm -rf /) `x`"""
    assert parameters_of(rerun_command(roll_back, a_run(parameters={"why": why}))) == {"why": why}


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_run_has_one_run_id_however_often_it_is_asked_and_its_name_says_it() -> None:
    @flow(flow_run_name=run_name("retrain"))
    def retraining(run_id: str = "") -> tuple[str, str, str, str]:
        return run_id or new_run_id("retrain"), new_run_id("retrain"), running.name, running.id

    first, again, name, identity = retraining()
    assert first == again
    assert name == f"retrain {first}"
    assert re.fullmatch(rf"retrain-\d{{8}}-\d{{6}}-{identity[-4:]}", first)
    assert retraining("weekly-48")[2] == "retrain weekly-48"


def test_run_ids_are_in_utc() -> None:
    due = datetime(2026, 11, 23, 3, 0, tzinfo=timezone(timedelta(hours=1)))
    assert run_id_of("train", due, "x-abcd") == run_id_of("train", due.astimezone(UTC), "y-abcd")


@pytest.mark.usefixtures("prefect_api")
def test_a_failed_flow_leaves_what_next_and_its_failed_part_does_not() -> None:
    runs: dict[str, str] = {}

    @flow(name="part", on_failure=[tell_what_next])
    def part() -> None:
        runs["part"] = running.id
        raise ValueError("no champion to train from")

    @flow(name="whole", on_failure=[tell_what_next])
    def whole(run_id: str) -> None:
        runs["whole"] = running.id
        part()

    with pytest.raises(ValueError, match="no champion"):
        whole("weekly-48")
    with get_client(sync_client=True) as client:
        told = {
            name: client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    key=ArtifactFilterKey(any_=["what-next"]),
                    flow_run_id=ArtifactFilterFlowRunId(any_=[uuid.UUID(identity)]),
                )
            )
            for name, identity in runs.items()
        }
    assert told["part"] == []
    (artifact,) = told["whole"]
    assert 'starting whole again with {"run_id": "weekly-48"}' in str(artifact.data)
    assert "no champion to train from" in str(artifact.data)
