"""There is always exactly one champion, and a record of how it came to be."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from warm_python import WarmProcess

from sgpo.config import TrackingConfig
from sgpo.registry import (
    UNREGISTERED,
    ChampionChange,
    Decision,
    RegistryError,
    aliases,
    gaps,
    history,
    promote,
    register_model_folder,
    roll_back,
    set_challenger,
    set_champion,
)
from sgpo.registry.store import lock_file
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow

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


def longest_model_tag(tracking: TrackingConfig) -> int:
    return max(len(value) for value in connect(tracking).get_registered_model(tracking.registered_model).tags.values())


def test_long_texts_are_cut_off_to_what_mlflows_tables_keep_of_a_models_tag(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    """Postgres refuses a longer value than `registered_model_tags.value`; SQLite, here, takes any."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag, SqlRegisteredModelTag

    limit = SqlRegisteredModelTag.__table__.c.value.type.length
    assert getattr(SqlModelVersionTag.__table__.c.value.type, "length", None) is None
    first, second, third = versions
    reasons = tuple(f"Tier {number} falls by more than the tolerated 2.0 points." for number in range(200))
    refusal = promote(tracking, second, Decision(promote=False, reasons=reasons), "ann", "weekly", against=third)
    assert refusal.reasons[:2] == reasons[:2]
    assert refusal.reasons[-1].startswith("It was measured against version")
    assert refusal.reasons[-2] == f"… ({201 - (len(refusal.reasons) - 1)} more)"
    again = promote(tracking, second, Decision(promote=False, reasons=reasons), "ann", "weekly", against=third)
    assert actions(tracking) == [("set_champion", None, first), ("refuse", first, first)]
    assert again.reasons == refusal.reasons
    lengths = [longest_model_tag(tracking)]
    for why in ("because " * 800, 'a "quoted" line\n' * 800, "\x1b" * 9000):
        with pytest.MonkeyPatch.context() as context:
            cut_power_at(2, context)  # its intent, the longest tag, is left
            with pytest.raises(KeyboardInterrupt):
                promote(tracking, second, Decision(promote=True, reasons=("x" * 3000,) * 3), "ann", why)
        lengths.append(longest_model_tag(tracking))
        change = roll_back(tracking, "ann", why)
        assert change.why.endswith("…")
        assert why.startswith(change.why.removesuffix("…"))
        lengths.append(longest_model_tag(tracking))
    assert max(lengths) <= limit == 5000


def test_a_name_that_does_not_fit_is_refused_before_anything_is_written(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    with pytest.raises(RegistryError, match=r"^who: 300 characters \(expected at most 250, as JSON\)$"):
        promote(tracking, versions[1], NO, "a" * 300, "weekly")
    assert "sgpo.last_decision" not in connect(tracking).get_model_version(tracking.registered_model, versions[1]).tags
    assert len(history(tracking)) == 1


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


def stored_champion(tracking: TrackingConfig) -> str:
    """The alias as MLflow itself has it, for those who read it without sgpo."""
    return str(connect(tracking).get_model_version_by_alias(tracking.registered_model, "champion").version)


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
                assert stored_champion(tracking) in (first, second)
                seen = [first, second][write > 1]  # once the intent is written, readers count it as done
                assert aliases(tracking)["champion"] == seen
                assert history(tracking)[-1].after == seen
                assert gaps(history(tracking), seen) == []
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
            assert stored_champion(tracking) in (first, second)
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


def test_writers_wait_for_each_other_whatever_path_leads_to_the_database(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mlflow.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "store" / "mlflow.db")
    ours, theirs = (
        TrackingConfig(mlflow_uri=f"sqlite:///{tmp_path / name}") for name in ("link.db", "store/mlflow.db")
    )
    assert lock_file(ours) == lock_file(theirs)


def test_two_checkouts_with_one_server_have_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = []
    for folder, uri in (("one", "http://127.0.0.1:5000"), ("two", "http://127.0.0.1:5000/")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        locks.append(lock_file(TrackingConfig(mlflow_uri=uri)).absolute())
    assert locks[0] == locks[1]
    assert lock_file(TrackingConfig(mlflow_uri="http://127.0.0.1:5001")) != locks[0]


def test_the_champion_is_not_put_on_trial_again(tracking: TrackingConfig, versions: list[str]) -> None:
    """As a repeated task would, of a run that was killed after its promotion."""
    promote(tracking, versions[1], YES, "ann", "weekly")
    set_challenger(tracking, versions[1])
    assert aliases(tracking) == {"champion": versions[1], "previous": versions[0]}


def test_a_killed_change_to_a_version_that_was_then_deleted_does_not_block_the_registry(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, third = versions
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut_power_at(2, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            promote(tracking, second, YES, "ann", "weekly")
    connect(tracking).delete_model_version(tracking.registered_model, second)
    change = promote(tracking, third, YES, "bob", "weekly")
    assert (change.before, change.after) == (first, third)
    assert aliases(tracking) == {"champion": third, "previous": first}


def test_a_killed_change_is_completed_although_the_champion_before_was_deleted(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, third = versions
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut_power_at(2, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            promote(tracking, second, YES, "ann", "weekly")
    connect(tracking).delete_model_version(tracking.registered_model, first)
    set_challenger(tracking, third)
    assert aliases(tracking) == {"champion": second, "challenger": third}
    assert actions(tracking)[-1] == ("promote", first, second)


def test_an_equal_promotion_after_the_alias_was_moved_by_hand_is_recorded_too(
    tracking: TrackingConfig, versions: list[str]
) -> None:
    first, second, _ = versions
    promote(tracking, second, YES, "ann", "weekly")
    connect(tracking).set_registered_model_alias(tracking.registered_model, "champion", first)
    (gap,) = gaps(history(tracking), first)
    assert "is on version 1, but the record ends with 2" in gap
    promote(tracking, second, YES, "ann", "weekly")
    assert actions(tracking) == [("set_champion", None, first), ("promote", first, second), ("promote", first, second)]
    (gap,) = gaps(history(tracking), second)
    assert "Decision 3 (promote of version 2 by ann) began from version 1, but the record before it ends with 2" in gap


def test_a_dry_run_may_be_about_a_model_that_is_not_registered(
    tracking: TrackingConfig, versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = aliases(tracking), history(tracking)
    for decision, line in (
        (YES, "promote version not registered: champion 1 -> not registered"),
        (NO, "refuse version not registered: the champion stays 1"),
    ):
        promote(tracking, UNREGISTERED, decision, "ann", "weekly", against=versions[0], dry_run=True)
        assert line in capsys.readouterr().out
        with pytest.raises(RegistryError, match="has no version 'not registered'"):
            promote(tracking, UNREGISTERED, decision, "ann", "weekly", against=versions[0])
    assert (aliases(tracking), history(tracking)) == before


KILLED = """
import json, os, signal, sys
from mlflow import MlflowClient
from sgpo.config import TrackingConfig
from sgpo.registry import Decision, promote
left = int(sys.argv[3])
for name in json.loads(sys.argv[4]):
    def write(self, *arguments, _original=getattr(MlflowClient, name)):
        global left
        _original(self, *arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    setattr(MlflowClient, name, write)
tracking = TrackingConfig.model_validate_json(sys.argv[1])
promote(tracking, sys.argv[2], Decision(promote=True, reasons=()), "ann", "weekly")
"""


@pytest.mark.parametrize("writes", [1, 3, 6])
def test_a_promotion_that_was_really_killed_is_completed_and_recorded_once(
    tracking: TrackingConfig, versions: list[str], writes: int, tmp_path: Path
) -> None:
    """SIGKILL after the intent, after the alias, and after the record; benchmarks/promotions.py has every place."""
    first, second, third = versions
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    command = [str(tmp_path / "killed.py"), tracking.model_dump_json(), second, str(writes), json.dumps(WRITES)]
    assert WarmProcess(command, tmp_path, os.environ).wait() == -signal.SIGKILL
    set_champion(tracking, third, "bob", "next")
    assert aliases(tracking) == {"champion": third, "previous": second}
    assert actions(tracking)[1:] == [("promote", first, second), ("set_champion", second, third)]
