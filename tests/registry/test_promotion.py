"""There is always exactly one champion, and a record of how it came to be."""

import fcntl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sgpo.config import TrackingConfig
from sgpo.mlflow_client import connect
from sgpo.registry import (
    ChampionChange,
    Decision,
    RegistryError,
    aliases,
    history,
    promote,
    register_model_folder,
    roll_back,
    set_challenger,
    set_champion,
)
from sgpo.registry.store import lock_file

YES = Decision(promote=True, reasons=("It is better.",))
NO = Decision(promote=False, reasons=("It is not better.",))


@pytest.fixture
def versions(tracking: TrackingConfig, model_folder: Path) -> list[str]:
    """Three versions, the first of which is champion."""
    made = [register_model_folder(tracking, model_folder, {}, f"run-{number}") for number in range(3)]
    set_champion(tracking, made[0], "ann", "the base model")
    return made


def actions(tracking: TrackingConfig) -> list[tuple[str, str | None, str | None]]:
    return [(change.action, change.before, change.after) for change in history(tracking)]


def test_a_promoted_challenger_is_champion_and_the_old_champion_previous(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, _ = versions
    set_challenger(tracking, second)
    change = promote(tracking, second, YES, "ann", "weekly retraining")
    assert aliases(tracking) == {"champion": second, "previous": first}
    assert (change.action, change.before, change.after) == ("promote", first, second)
    assert actions(tracking) == [("set_champion", None, first), ("promote", first, second)]
    last = history(tracking)[-1]
    assert last == change
    assert (last.who, last.why, last.reasons) == ("ann", "weekly retraining", ("It is better.",))
    assert last.when.endswith("+00:00")
    tags = connect(tracking).get_model_version(tracking.registered_model, second).tags
    assert ChampionChange.model_validate_json(tags["sgpo.last_decision"]) == change


def test_promoting_the_champion_again_changes_and_records_nothing(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    promote(tracking, versions[1], YES, "ann", "weekly")
    before = aliases(tracking), history(tracking)
    assert promote(tracking, versions[1], YES, "ann", "weekly").action == "unchanged"
    assert (aliases(tracking), history(tracking)) == before


def test_a_refusal_is_recorded_once_and_changes_nothing(tracking: TrackingConfig, versions: list[str]) -> None:
    before = aliases(tracking)
    for _ in range(2):
        assert promote(tracking, versions[1], NO, "ann", "weekly").action == "refuse"
    assert aliases(tracking) == before
    assert actions(tracking)[1:] == [("refuse", versions[0], versions[0])]


def test_a_decision_against_an_earlier_champion_is_refused(tracking: TrackingConfig, versions: list[str]) -> None:
    first, second, third = versions
    promote(tracking, second, YES, "ann", "weekly", against=first)
    change = promote(tracking, third, YES, "bob", "weekly", against=first)
    assert change.action == "refuse"
    assert change.reasons[-1] == f"It was measured against version {first}, but the champion is now version {second}."
    assert aliases(tracking)["champion"] == second


def test_a_roll_back_restores_the_previous_champion_and_a_second_one_undoes_it(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, _ = versions
    promote(tracking, second, YES, "ann", "weekly")
    change = roll_back(tracking, "bob", "complaints")
    assert aliases(tracking) == {"champion": first, "previous": second}
    assert (change.before, change.after, change.who) == (second, first, "bob")
    roll_back(tracking, "bob", "they were wrong")
    assert aliases(tracking) == {"champion": second, "previous": first}
    assert [action for action, *_ in actions(tracking)] == ["set_champion", "promote", "roll_back", "roll_back"]


def test_with_no_previous_champion_a_roll_back_is_an_error(tracking: TrackingConfig, versions: list[str]) -> None:
    with pytest.raises(RegistryError, match="no previous champion to roll back to"):
        roll_back(tracking, "bob", "complaints")
    assert aliases(tracking) == {"champion": versions[0]}


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(
    tracking: TrackingConfig, versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = aliases(tracking), history(tracking)
    assert promote(tracking, versions[1], YES, "ann", "weekly", dry_run=True).action == "promote"
    assert capsys.readouterr().out == (
        f"dry run, nothing done: promote version {versions[1]}: champion {versions[0]} -> {versions[1]} "
        "(weekly It is better.)\n"
    )
    assert promote(tracking, versions[1], NO, "ann", "weekly", dry_run=True).action == "refuse"
    assert f"the champion stays {versions[0]}" in capsys.readouterr().out
    assert (aliases(tracking), history(tracking)) == before


@pytest.mark.parametrize("decision", [YES, NO])
def test_a_version_that_is_not_there_cannot_be_promoted(
    tracking: TrackingConfig, versions: list[str], decision: Decision
) -> None:
    with pytest.raises(RegistryError, match="has no version '99'"):
        promote(tracking, "99", decision, "ann", "weekly")
    assert aliases(tracking) == {"champion": versions[0]}
    assert len(history(tracking)) == 1


WRITES = (
    "set_registered_model_tag",
    "set_registered_model_alias",
    "set_model_version_tag",
    "delete_registered_model_alias",
    "delete_registered_model_tag",
)


def cut_power_at(write: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the given write on (counting from 1), every write to the registry raises instead of being done."""
    from mlflow import MlflowClient

    count = 0
    for name in WRITES:
        original = getattr(MlflowClient, name)

        def cut(self, *arguments, _original=original, **named):
            nonlocal count
            count += 1
            if count >= write:
                raise KeyboardInterrupt
            return _original(self, *arguments, **named)

        monkeypatch.setattr(MlflowClient, name, cut)


def test_a_promotion_cut_off_anywhere_leaves_a_champion_and_is_completed_by_the_next(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, _ = versions
    set_challenger(tracking, second)
    write = 0
    while True:
        write += 1
        with pytest.MonkeyPatch.context() as monkeypatch:
            cut_power_at(write, monkeypatch)
            try:
                promote(tracking, second, YES, "ann", "weekly")
            except KeyboardInterrupt:
                assert aliases(tracking)["champion"] in (first, second)
            else:
                break
        promote(tracking, second, YES, "ann", "weekly")
        assert aliases(tracking) == {"champion": second, "previous": first}
        assert actions(tracking)[-1] == ("promote", first, second)
        assert len(history(tracking)) == 2 * write  # one promotion, and one roll-back, per turn of this loop
        roll_back(tracking, "ann", "once more")
        set_challenger(tracking, second)
    assert write == 8  # intent, two aliases, challenger, two records, end of intent; the eighth is not reached


def test_a_roll_back_cut_off_anywhere_is_completed_and_not_done_twice(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, _ = versions
    promote(tracking, second, YES, "ann", "weekly")
    for write in range(2, 7):
        before = aliases(tracking)
        with pytest.MonkeyPatch.context() as monkeypatch:
            cut_power_at(write, monkeypatch)
            with pytest.raises(KeyboardInterrupt):
                roll_back(tracking, "bob", "complaints")
            assert aliases(tracking)["champion"] in (first, second)
        roll_back(tracking, "bob", "complaints")
        assert aliases(tracking) == {"champion": before["previous"], "previous": before["champion"]}
        assert len(history(tracking)) == 2 + (write - 1)


PROMOTER = """
import sys
from sgpo.config import TrackingConfig
from sgpo.registry import Decision, aliases, promote
tracking = TrackingConfig.model_validate_json(sys.argv[1])
aliases(tracking)  # MLflow is imported and the database open
print("ready", flush=True)
sys.stdin.readline()
print(promote(tracking, sys.argv[2], Decision(promote=True, reasons=()), "bob", "race", against=sys.argv[3]).action)
"""


def test_of_two_promotions_at_once_one_wins_and_the_other_is_refused(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, ours, theirs = versions
    with subprocess.Popen(
        [sys.executable, "-c", PROMOTER, tracking.model_dump_json(), theirs, first],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        our_action = promote(tracking, ours, YES, "ann", "race", against=first).action
        their_action = other.communicate(timeout=60)[0].strip()
    assert sorted([our_action, their_action]) == ["promote", "refuse"]
    winner = ours if our_action == "promote" else theirs
    assert aliases(tracking) == {"champion": winner, "previous": first}
    assert sorted(action for action, *_ in actions(tracking)) == ["promote", "refuse", "set_champion"]


def test_a_writer_waits_for_the_writer_before_it(tracking: TrackingConfig, versions: list[str]) -> None:
    """What the race above only makes likely: while another process holds the lock, nothing is changed."""
    with lock_file(tracking).open("a") as held, ThreadPoolExecutor() as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        promotion = pool.submit(promote, tracking, versions[1], YES, "ann", "weekly")
        with pytest.raises(TimeoutError):
            promotion.result(timeout=0.5)
        assert aliases(tracking) == {"champion": versions[0]}
        fcntl.flock(held, fcntl.LOCK_UN)
        assert promotion.result(timeout=30).action == "promote"
    assert aliases(tracking)["champion"] == versions[1]
