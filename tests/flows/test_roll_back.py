"""The champion changed by a person, in a flow or by hand in MLflow: always recorded, and never undone twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from registered import move_alias_by_hand, register

from flows import roll_back as module
from flows import set_champion as set_champion_module
from flows.champion import put_back_recorded_champion
from flows.roll_back import roll_back, roll_back_from
from flows.set_champion import set_champion
from sgpo.config import TrackingConfig
from sgpo.registry.promotion import aliases, history
from sgpo.registry.promotion import roll_back as roll_back_version
from sgpo.registry.promotion import set_champion as set_champion_version
from sgpo.registry.store import RegistryError
from sgpo.tracking.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


class Model(NamedTuple):
    tracking: TrackingConfig
    overrides: tuple[str, ...]
    versions: list[str]


@pytest.fixture
def model(tmp_path: Path, mlflow_database: Path, request: pytest.FixtureRequest) -> Model:
    """Three versions; the second is the champion, the first was it before."""
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}", artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model=f"roll-back {request.node.name}",
    )  # fmt: skip
    versions = [register(tracking, tmp_path / name, value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    for version in versions[:2]:
        set_champion_version(tracking, version, "test", f"It is version {version}.")
    overrides = tuple(
        f"tracking.{name}='{getattr(tracking, name)}'" for name in ("mlflow_uri", "artifact_root", "registered_model")
    )
    return Model(tracking, overrides, versions)


def champions(model: Model) -> tuple[str, str]:
    now = aliases(model.tracking)
    return now["champion"], now["previous"]


def test_a_roll_back_makes_the_previous_champion_the_champion_and_says_who_and_why(model: Model) -> None:
    first, second, _ = model.versions
    change = roll_back("Worse on Friday's problems.", overrides=model.overrides, who="an owner")
    assert champions(model) == (first, second)
    assert change == history(model.tracking)[-1]
    assert (change.action, change.before, change.after) == ("roll_back", second, first)
    assert (change.who, change.why) == ("an owner", "Worse on Friday's problems.")


@pytest.mark.parametrize("why", ["Worse.", "Worse. " * 1000], ids=["short", "cut off"])
def test_a_roll_back_that_is_tried_again_does_not_undo_itself(model: Model, why: str) -> None:
    first, second, _ = model.versions
    change = roll_back_from.fn(model.tracking, second, "an owner", why, 2)
    assert roll_back_from.fn(model.tracking, second, "an owner", why, 2) == change
    assert champions(model) == (first, second)
    assert len(history(model.tracking)) == 3


def failed_after_the_roll_back(model: Model) -> FlowRun:
    """A run of the flow that failed when the previous champion was the champion again; `champion` was not given."""

    def lost(*_: object) -> None:
        raise ConnectionError("the server is gone")

    with get_client(sync_client=True) as client, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "publish_change", lost)
        parameters = {"why": "Worse.", "who": "an owner", "overrides": model.overrides}
        run = client.create_flow_run(roll_back, parameters=parameters)
        with pytest.raises(ConnectionError):
            run_flow(roll_back, flow_run=run, parameters=parameters)
        return client.read_flow_run(run.id)


def test_prefects_retry_does_not_undo_the_roll_back_of_the_first_try(model: Model) -> None:
    first, second, _ = model.versions
    run = failed_after_the_roll_back(model)
    assert champions(model) == (first, second)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        again = run_flow(roll_back, flow_run=client.read_flow_run(run.id), parameters=run.parameters)
    assert champions(model) == (first, second)
    assert again == history(model.tracking)[-1]
    assert len(history(model.tracking)) == 3


def test_prefects_retry_does_not_roll_back_again_what_somebody_has_set_since(model: Model) -> None:
    first, second, _ = model.versions
    run = failed_after_the_roll_back(model)
    set_champion_version(model.tracking, second, "another owner", "It is better after all.")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        run_flow(roll_back, flow_run=client.read_flow_run(run.id), parameters=run.parameters)
    assert champions(model) == (second, first)
    assert len(history(model.tracking)) == 4


def test_the_command_that_repeats_a_roll_back_names_the_version_that_it_began_from(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = model.versions
    run = failed_after_the_roll_back(model)
    (command,) = (text for text in caplog.messages if "starting roll-back again with " in text)
    parameters = json.loads(command.split("starting roll-back again with ")[1])
    assert parameters == {**run.parameters, "champion": second}
    roll_back(**parameters)
    assert champions(model) == (first, second)


def test_a_roll_back_that_was_killed_is_completed_when_it_is_tried_again(model: Model) -> None:
    first, second, _ = model.versions
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sgpo.registry.promotion._complete_pending", lambda *_: None)  # killed before it
        roll_back_from.fn(model.tracking, second, "an owner", "Worse.", 2)
    roll_back_from.fn(model.tracking, second, "an owner", "Worse.", 2)
    stored = connect(model.tracking).get_model_version_by_alias(model.tracking.registered_model, "champion")
    assert str(stored.version) == first
    assert len(history(model.tracking)) == 3


def test_a_roll_back_from_a_version_that_is_not_the_champion_is_refused(model: Model) -> None:
    first, second, third = model.versions
    with pytest.raises(RegistryError, match=rf"the champion is {second} \(expected {third}, to roll back from\)"):
        roll_back("Late.", champion=third, overrides=model.overrides)
    assert champions(model) == (second, first)
    assert len(history(model.tracking)) == 2


def test_a_version_set_by_a_person_is_champion_without_a_gate(model: Model) -> None:
    _, second, third = model.versions
    change = set_champion(third, "Agreed in the review.", overrides=model.overrides, who="an owner")
    assert champions(model) == (third, second)
    assert (change.action, change.who, change.why) == ("set_champion", "an owner", "Agreed in the review.")


def test_prefects_retry_does_not_set_a_version_again_over_what_others_have_done_since(model: Model) -> None:
    _, second, third = model.versions
    parameters = {"version": third, "why": "Agreed.", "who": "an owner", "overrides": model.overrides}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(set_champion, parameters=parameters)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(set_champion_module, "publish_change", Mock(side_effect=ConnectionError))
            with pytest.raises(ConnectionError):
                run_flow(set_champion, flow_run=run, parameters=parameters)
        roll_back_version(model.tracking, "another owner", "Worse.")
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        run_flow(set_champion, flow_run=client.read_flow_run(run.id), parameters=parameters)
    assert champions(model) == (second, third)
    assert [change.action for change in history(model.tracking)[2:]] == ["set_champion", "roll_back"]
    set_champion(**parameters)  # another run is a new word
    assert champions(model) == (third, second)


def test_a_version_that_was_promised_and_not_set_is_set_once_by_the_next_try(model: Model) -> None:
    _, second, third = model.versions
    asked = (model.tracking, third, "an owner", "Agreed. " * 1000, 2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sgpo.registry.promotion._complete_pending", lambda *_: None)  # killed before it
        set_champion_module.set_version.fn(*asked)
    assert set_champion_module.set_version.fn(*asked).after == third
    stored = connect(model.tracking).get_model_version_by_alias(model.tracking.registered_model, "champion")
    assert (str(stored.version), len(history(model.tracking))) == (third, 3)
    roll_back_version(model.tracking, "another owner", "Worse.")
    assert set_champion_module.set_version.fn(*asked) == history(model.tracking)[2]
    assert champions(model) == (second, third)


def test_an_alias_moved_by_hand_is_recorded_with_the_right_previous_champion(model: Model) -> None:
    first, second, third = model.versions
    move_alias_by_hand(model.tracking, third)
    change = set_champion(third, "The alias was set.", overrides=model.overrides)
    assert champions(model) == (third, second)
    assert (change.action, change.before, change.after) == ("set_champion", second, third)
    roll_back("No.", overrides=model.overrides)
    assert champions(model) == (second, third)
    move_alias_by_hand(model.tracking, first)
    roll_back("It was never first's turn.", overrides=model.overrides)
    assert champions(model) == (third, second)


def test_the_first_champion_set_by_hand_is_recorded(
    tmp_path: Path, model: Model, request: pytest.FixtureRequest
) -> None:
    tracking = model.tracking.model_copy(update={"registered_model": f"first, {request.node.name}"})
    version = register(tracking, tmp_path / "alone", 1.0)
    move_alias_by_hand(tracking, version)
    overrides = (*model.overrides, f"tracking.registered_model='{tracking.registered_model}'")
    change = set_champion(version, "The alias was set.", overrides=overrides)
    assert (change.before, change.after) == (None, version)
    assert history(tracking) == [change]
    assert aliases(tracking)["champion"] == version


def test_a_champion_that_is_as_recorded_is_left_alone(model: Model) -> None:
    first, second, _ = model.versions
    put_back_recorded_champion.fn(model.tracking)
    assert champions(model) == (second, first)


def test_a_recorded_champion_that_was_deleted_does_not_block_the_next_one(model: Model) -> None:
    _, second, third = model.versions
    connect(model.tracking).delete_model_version(model.tracking.registered_model, second)
    change = set_champion(third, "The champion's version is gone.", overrides=model.overrides)
    assert (change.action, change.after) == ("set_champion", third)
    assert aliases(model.tracking)["champion"] == third
