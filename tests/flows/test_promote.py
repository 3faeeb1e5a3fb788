"""A dry run of `promote` tells what the gate decides and leaves the registry as it is."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from registered import move_alias_by_hand, register

from flows import evaluate, promote, runs
from flows.champion import put_back_recorded_champion
from flows.limits import one_change_of_champion
from flows.local.stack import champion_limit
from flows.runs import Start
from sgpo.config import ConfigError, TrackingConfig, dump_config, load_config
from sgpo.evaluation import Outcome
from sgpo.evaluation.outcomes import write_outcomes
from sgpo.files import write_json
from sgpo.registry.promotion import UNREGISTERED, aliases, history, roll_back, set_champion
from sgpo.tracking.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
RUN = "measured"


class Place(NamedTuple):
    repository: Path
    tracking: TrackingConfig
    overrides: tuple[str, ...]

    def registry(self) -> tuple[int, dict[str, str], int]:
        """How many versions, which aliases, how many decisions."""
        versions = connect(self.tracking).search_model_versions(f"name = '{self.tracking.registered_model}'")
        return len(versions), aliases(self.tracking), len(history(self.tracking))


@pytest.fixture
def place(
    tmp_path: Path, mlflow_database: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """A champion, and a run from it that is measured as far better and not registered."""
    for module in (promote, evaluate, runs):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}", artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model=f"promote {request.node.name}",
    )  # fmt: skip
    champion = register(tracking, tmp_path / "first", 1.0)
    set_champion(tracking, champion, "test", "The first.")
    start = Start(champion=champion, settings={}, params="")
    write_json(tmp_path / "runs" / RUN / "start.json", start.model_dump())
    for who, reward in (("champion", 0.0), ("challenger", 1.0)):
        outcomes = [Outcome(f"p{number}", "x", (reward,)) for number in range(40)]
        write_outcomes(outcomes, tmp_path / "runs" / RUN / "evaluation" / f"{who}.jsonl", {})
    settings = [("tracking", name) for name in ("mlflow_uri", "artifact_root", "registered_model")]
    overrides = tuple(f"{group}.{name}='{getattr(tracking, name)}'" for group, name in settings)
    return Place(tmp_path, tracking, ("evaluation.resamples=200", *overrides))


def test_a_dry_run_about_a_model_that_is_not_registered_registers_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.registry()
    recipe = str(Path(__file__).parents[2] / "configs" / "testbed.yaml")
    change = promote.promote(RUN, recipe, "A look.", dry_run=True, overrides=place.overrides)
    assert (change.action, change.version, change.dry_run) == ("promote", UNREGISTERED, True)
    assert place.registry() == before


def test_a_dry_run_about_a_registered_model_names_its_version_and_moves_no_alias(place: Place) -> None:
    version = register(place.tracking, place.repository / RUN, 2.0)
    before = place.registry()
    recipe = str(Path(__file__).parents[2] / "configs" / "testbed.yaml")
    change = promote.promote(RUN, recipe, "A look.", dry_run=True, overrides=place.overrides)
    assert (change.action, change.version, change.dry_run) == ("promote", version, True)
    assert place.registry() == before
    assert "challenger" not in before[1]


def trained(place: Place) -> str:
    """Give the measured run its model, registered already, and its settings; returns the recipe's path."""
    recipe = str(Path(__file__).parents[2] / "configs" / "testbed.yaml")
    run = place.repository / "runs" / RUN
    register(place.tracking, place.repository / RUN, 2.0)
    shutil.copytree(place.repository / RUN, run / "model")
    (run / "config.yaml").write_text(dump_config(load_config(recipe, place.overrides)), encoding="utf-8")
    return recipe


def test_a_retraining_that_is_resumed_does_not_promote_again_what_was_rolled_back_meanwhile(place: Place) -> None:
    recipe = trained(place)
    first = aliases(place.tracking)["champion"]
    made = promote.promote(RUN, recipe, promote.RETRAINING, overrides=place.overrides)
    assert (made.action, aliases(place.tracking)["champion"]) == ("promote", made.version)
    roll_back(place.tracking, "an owner", "Worse on Friday's problems.")
    again = promote.promote(RUN, recipe, promote.RETRAINING, overrides=place.overrides)
    assert again == made
    assert aliases(place.tracking)["champion"] == first
    assert [change.action for change in history(place.tracking)] == ["set_champion", "promote", "roll_back"]
    by_a_person = promote.promote(RUN, recipe, "Friday's problems were wrong.", overrides=place.overrides)
    assert (by_a_person.action, aliases(place.tracking)["champion"]) == ("promote", made.version)


def test_a_promotion_that_was_cut_off_after_its_promise_is_completed_by_the_next_try(place: Place) -> None:
    recipe = trained(place)
    config = load_config(recipe, place.overrides)
    comparison = promote.comparison_of(config, RUN)
    first = aliases(place.tracking)["champion"]
    decide = (config, "2", first, comparison, "ann", promote.RETRAINING, False, 0)
    with pytest.MonkeyPatch.context() as away:
        away.setattr(MlflowClient, "set_registered_model_alias", Mock(side_effect=ConnectionError))
        with pytest.raises(ConnectionError):
            promote.decide_and_promote.fn(*decide)
    assert promote.decide_and_promote.fn(*decide).action == "promote"
    served = connect(place.tracking).get_model_version_by_alias(place.tracking.registered_model, "champion")
    assert str(served.version) == "2"
    assert [change.action for change in history(place.tracking)] == ["set_champion", "promote"]


def test_a_persons_promotion_that_is_tried_again_is_not_made_over_a_roll_back(place: Place) -> None:
    recipe = trained(place)
    parameters = {"run_id": RUN, "recipe": recipe, "why": "Friday's.", "overrides": place.overrides}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(promote.promote, parameters=parameters)
        with pytest.MonkeyPatch.context() as lost:
            lost.setattr(promote, "publish_change", Mock(side_effect=ConnectionError))
            with pytest.raises(ConnectionError):
                run_flow(promote.promote, flow_run=run, parameters=parameters)
        roll_back(place.tracking, "an owner", "Worse.")
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        run_flow(promote.promote, flow_run=client.read_flow_run(run.id), parameters=parameters)
    assert [change.action for change in history(place.tracking)] == ["set_champion", "promote", "roll_back"]
    assert aliases(place.tracking)["champion"] == "1"


def test_a_run_is_not_promoted_into_another_registered_model_than_it_began_with(
    place: Place, request: pytest.FixtureRequest
) -> None:
    """As by a deployment's own recipe: the other model has a version with the number of this one's champion."""
    recipe = trained(place)
    other = place.tracking.model_copy(update={"registered_model": f"other {request.node.name}"})
    set_champion(other, register(other, place.repository / "another", 1.0), "test", "The first.")
    overrides = (*place.overrides, f"tracking.registered_model='{other.registered_model}'")
    with pytest.raises(ConfigError, match=r"registered_model was 'promote .*, now 'other .*\(expected the rec"):
        promote.promote(RUN, recipe, overrides=overrides)
    assert place._replace(tracking=other).registry() == (1, {"champion": "1"}, 1)


def test_what_completes_a_change_of_champion_waits_for_the_one_that_another_machine_is_at(place: Place) -> None:
    """The registry's own lock holds on one machine, as in one pod: elsewhere a change would be recorded twice."""
    recipe = trained(place)
    config = load_config(recipe, place.overrides)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(champion_limit(place.tracking), 1)
    comparison = promote.comparison_of(config, RUN)
    first = aliases(place.tracking)["champion"]
    move_alias_by_hand(place.tracking, "2")
    # One after the other: registering a version that is champion by hand puts none on trial.
    for change, arguments in (
        (put_back_recorded_champion, (place.tracking,)),
        (promote.register_challenger, (config, RUN, first, comparison)),
    ):
        before = aliases(place.tracking)
        thread = threading.Thread(target=change.fn, args=arguments)
        with one_change_of_champion(place.tracking):
            thread.start()
            thread.join(3)
            assert aliases(place.tracking) == before
        thread.join(60)
        assert aliases(place.tracking) != before
    assert aliases(place.tracking) == {"champion": first, "challenger": "2"}
