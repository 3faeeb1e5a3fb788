"""What must not happen at the same time: two flows in one checkout, two trainings of one registered model."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.local.stack import champion_limit, training_limit
from flows.process import REPOSITORY
from sgpo.config import TrackingConfig

_POLL_S = 0.5
_held = False


@contextmanager
def this_checkout() -> Iterator[None]:
    """While the block runs, no other flow run works on this checkout's data; waits until it may.

    Deployments' concurrency limits hold between runs of one deployment; an `evaluate` beside a `train` would change the
    champion's folder under it. The system lifts this lock when its holder dies. Flows within a flow hold it already.
    """
    global _held
    if _held:
        yield
        return
    path = REPOSITORY / ".sgpo" / "checkout.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _wait_for(file)
        file.truncate(0)
        file.write(f"{flow_run.name or 'a flow'} (process {os.getpid()})")
        file.flush()
        _held = True
        try:
            yield
        finally:
            _held = False


@contextmanager
def one_training(tracking: TrackingConfig) -> Iterator[None]:
    """Yield a slot of the limit on trainings of the registered model, for flows on several machines; waits for one."""
    with _slot(training_limit(tracking)):
        yield


@contextmanager
def one_change_of_champion(tracking: TrackingConfig) -> Iterator[None]:
    """Yield a slot of the limit on changes of the registered model's champion: its lock holds on one machine only."""
    with _slot(champion_limit(tracking)):
        yield


@contextmanager
def _slot(limit: str) -> Iterator[None]:
    """Yield a slot of a global concurrency limit; waits for one.

    A limit that nobody has made (`prefect gcl create`, `sgpo up`) limits nothing. A holder that dies loses its slot
    when its lease of five minutes ends.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(limit)
            slot = concurrency(limit, raise_on_lease_renewal_failure=False)
        except ObjectNotFound:
            slot = nullcontext()
    with slot:
        yield


def _wait_for(file) -> None:
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                file.seek(0)
                get_run_logger().info("waits for %s, which works in this checkout", file.read())
                told = True
            time.sleep(_POLL_S)
