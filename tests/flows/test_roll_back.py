"""The champion changed by a person, in a flow or by hand in MLflow: always recorded, and never undone twice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from registered import move_alias_by_hand, register

from flows.champion import put_back_recorded_champion
from flows.roll_back import roll_back, roll_back_from
from flows.set_champion import set_champion
from sgpo.config import TrackingConfig
from sgpo.registry.promotion import aliases, history
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


def test_a_roll_back_that_is_tried_again_does_not_undo_itself(model: Model) -> None:
    first, second, _ = model.versions
    change = roll_back_from.fn(model.tracking, second, "an owner", "Worse.")
    assert roll_back_from.fn(model.tracking, second, "an owner", "Worse.") == change
    assert champions(model) == (first, second)
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
