"""What must not happen at the same time: two flows in one checkout, two trainings of one registered model."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from filelock import FileLock, Timeout
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.local.stack import champion_limit, training_limit
from flows.process import REPOSITORY
from sgpo.config import TrackingConfig

_POLL_S = 0.5


@contextmanager
def this_checkout() -> Iterator[None]:
    """Keep other flow runs from this checkout's data while the block runs; waits until it may.

    Deployments' concurrency limits hold between runs of one deployment; an `evaluate` beside a `train` would change the
    champion's folder under it. The system lifts this lock when its holder dies. Flows within a flow hold it already.
    """
    path = REPOSITORY / ".sgpo" / "checkout.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path, thread_local=False, is_singleton=True), path.with_suffix(".holder")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text(encoding="utf-8") if holder.is_file() else "another flow"
        get_run_logger().info("waits for %s, which works in this checkout", who)
        lock.acquire(poll_interval=_POLL_S)
    try:
        if lock.lock_counter == 1:
            holder.write_text(f"{flow_run.name or 'a flow'} (process {os.getpid()})", encoding="utf-8")
        yield
    finally:
        lock.release()


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
