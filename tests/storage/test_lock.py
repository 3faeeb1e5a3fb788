"""The lock: one holder at a time, taken over only from the dead, and lost answers change nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from sgpo.storage import Lock, LockedError, ObjectStore, StorageError, UnreachableError

pytestmark = pytest.mark.slow

KEY = "locks/runs/weekly.json"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"lease_s": 1.0})


@pytest.fixture
def slow(settings) -> ObjectStore:
    """Holders that this test does not have to wait for."""
    return ObjectStore(settings.model_copy(update={"lease_s": 600.0}))


def another_machine(store: ObjectStore, **changes) -> str:
    """Write the lock as another machine would hold it; returns its tag."""
    holder = {
        "token": "its own", "host": "gpu-7", "machine": "another", "pid": 42, "since": "2026-11-23T10:00:00+00:00",
        "lease_s": 600.0, "renewals": 0, "released": False,
    }  # fmt: skip
    return store.put(KEY, json.dumps({**holder, **changes}).encode())


def holder(store: ObjectStore) -> dict:
    found = store.get(KEY)
    assert found is not None
    return json.loads(found.body)


@pytest.mark.parametrize("state", ["new", "released", "run out"])
def test_of_eight_contenders_exactly_one_holds_it(slow, state):
    if state != "new":
        another_machine(slow, **({"released": True} if state == "released" else {"lease_s": -5.0}))
    together, all_tried, outcomes = threading.Barrier(8), threading.Barrier(8), []

    def contend() -> None:
        lock = Lock(slow, "runs/weekly", wait=False)
        together.wait(30)
        try:
            with lock:
                outcomes.append("held")
                all_tried.wait(30)
        except LockedError as error:
            outcomes.append(str(error))
            all_tried.wait(30)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes.count("held") == 1
    refused = [outcome for outcome in outcomes if outcome != "held"]
    expected = f"runs/weekly: held by process {os.getpid()} of {socket.gethostname()} since "
    assert len(refused) == 7
    assert all(text.startswith(expected) for text in refused), refused
    assert holder(slow)["released"]


def test_a_lock_of_another_machine_is_refused_with_its_name(slow):
    another_machine(slow)
    with pytest.raises(LockedError) as refused, Lock(slow, "runs/weekly", wait=False):
        pass
    assert str(refused.value) == (
        "runs/weekly: held by process 42 of gpu-7 since 2026-11-23T10:00:00+00:00 "
        "(expected it to end, or 600 s without a sign of it)"
    )


DIE = """
import os, sys
from sgpo.config import StorageConfig
from sgpo.storage import Lock, ObjectStore
Lock(ObjectStore(StorageConfig.model_validate_json(sys.argv[1])), "runs/weekly").__enter__()
os._exit(1)
"""


def test_a_killed_process_of_this_machine_holds_nothing(slow):
    subprocess.run([sys.executable, "-c", DIE, slow.settings.model_dump_json()], check=False, timeout=60)
    assert not holder(slow)["released"]
    with Lock(slow, "runs/weekly", wait=False):
        assert holder(slow)["pid"] == os.getpid()


def test_a_silent_holder_is_waited_for_and_then_taken_over(store, capsys):
    another_machine(store, lease_s=1.0)
    with Lock(store, "runs/weekly") as lock:
        assert lock.held
        assert holder(store)["pid"] == os.getpid()
    assert capsys.readouterr().err.count("storage: waiting for runs/weekly: held by process 42 of gpu-7") == 1


def test_a_holder_that_shows_itself_is_not_waited_for(store):
    with Lock(store, "runs/weekly"), pytest.raises(LockedError, match="held by process"), Lock(store, "runs/weekly"):
        pass


def test_a_holder_renews_it_by_itself(store):
    with Lock(store, "runs/weekly") as lock:
        until(lambda: holder(store)["renewals"] >= 2)
        assert lock.held
    assert holder(store)["released"]


def test_whoever_finds_it_taken_over_is_told_once(store):
    told: list[str] = []
    with Lock(store, "runs/weekly", on_lost=told.append) as lock:
        another_machine(store)
        until(lambda: not lock.held)
        with pytest.raises(LockedError, match="taken over by another machine"):
            lock.renew()
    assert [text.split(" since ")[0] for text in told] == ["runs/weekly: held by process 42 of gpu-7"]
    assert holder(store)["token"] == "its own"


def test_an_outage_alone_loses_nothing(store, proxy):
    with Lock(store, "runs/weekly") as lock:
        begun = len(proxy.seen)
        proxy.fault = lambda method, path: "drop"
        until(lambda: len(proxy.seen) > begun + 3)
        with pytest.raises(UnreachableError):
            lock.renew()
        proxy.fault = lambda method, path: None
        lock.renew()
        assert lock.held
        assert holder(store)["pid"] == os.getpid()


def test_lost_answers_are_no_other_holder(slow, proxy):
    """The server did what was asked, the answer was lost, and the repeated request meets what the first one did."""

    def lose_first_tries(method: str, path: str) -> str | None:
        if method == "PUT":
            tries.append(path)
        return "lose" if method == "PUT" and len(tries) % 2 else None

    tries: list[str] = []
    proxy.fault = lose_first_tries
    with Lock(slow, "runs/weekly", wait=False) as lock:
        lock.renew()
        assert holder(slow)["renewals"] == 1
    assert holder(slow)["released"]
    assert len(tries) == 6


def test_what_is_no_lock_is_said(store):
    store.put(KEY, b"something else")
    with pytest.raises(StorageError, match=r"locks/runs/weekly\.json at .*: not a lock of this version"):
        Lock(store, "runs/weekly").__enter__()


def until(condition, seconds: float = 30.0) -> None:
    """Wait for another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
