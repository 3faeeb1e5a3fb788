"""One flow at a time in a checkout, and one training of a registered model wherever it runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows import limits
from flows.limits import one_change_of_champion, one_training, this_checkout
from flows.local.stack import champion_limit, training_limit
from flows.process import REPOSITORY
from sgpo.config import TrackingConfig

pytestmark = pytest.mark.slow

HOLDER = (
    "import sys, time; from pathlib import Path; from flows import limits; limits.REPOSITORY = Path(sys.argv[1])\n"
    "with limits.this_checkout():\n    print('holds', flush=True)\n    sys.stdin.readline()\n"
)


def another_flow(checkout: Path) -> subprocess.Popen[str]:
    """A process that holds the checkout until it reads a line or is killed."""
    command = [sys.executable, "-c", HOLDER, str(checkout)]
    holder = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds\n"
    return holder


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("end", ["release", "kill"])
def test_a_flow_waits_for_the_one_that_works_in_the_checkout_and_says_so(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REPOSITORY", tmp_path)
    holder = another_flow(tmp_path)
    said: list[str] = []

    class Logger:
        def info(self, form: str, *values: object) -> None:
            """What is said while it waits lets the other flow end."""
            said.append(form % values)
            if end == "release":
                holder.communicate("go on\n")
            else:
                holder.send_signal(signal.SIGKILL)
                holder.wait()

    monkeypatch.setattr(limits, "get_run_logger", Logger)

    @flow
    def second() -> int:
        with this_checkout():
            return len(said)

    assert second() == 1
    assert said == [f"waits for a flow (process {holder.pid}), which works in this checkout"]


def test_a_flow_within_a_flow_does_not_wait_for_its_own_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPOSITORY", tmp_path)
    with this_checkout():
        with this_checkout():
            held = (tmp_path / ".sgpo" / "checkout.holder").read_text()
        assert held
        busy = subprocess.run(["flock", "--nonblock", str(tmp_path / ".sgpo" / "checkout.lock"), "true"])
        assert busy.returncode == 1, "the inner flow has given the outer one's lock away"
    free = subprocess.run(["flock", "--nonblock", str(tmp_path / ".sgpo" / "checkout.lock"), "true"])
    assert free.returncode == 0


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(("one", "limit"), [(one_training, training_limit), (one_change_of_champion, champion_limit)])
def test_the_one_slot_of_a_registered_model_is_taken_and_given_back(one, limit) -> None:
    tracking = TrackingConfig(registered_model="small & quick")
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit(tracking), 1)

        def taken() -> int:
            return client.read_global_concurrency_limit_by_name(limit(tracking)).active_slots

        with one(tracking):
            assert taken() == 1
        assert taken() == 0


@pytest.mark.usefixtures("prefect_api")
def test_without_a_limit_on_the_server_a_training_goes_on() -> None:
    with one_training(TrackingConfig(registered_model="of nobody")):
        pass
