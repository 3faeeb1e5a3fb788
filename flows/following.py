"""A flow run as a person at a terminal follows it: the lines of its log, its states, and how it ended."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun, Log, State
from prefect.client.schemas.sorting import LogSort

POLL_S = 2.0
LATE = timedelta(seconds=30)
"""A log line may reach the server so much after a later one of another task."""
DRAIN_S = 4.0
"""After its end a run's last lines are still on their way: they are sent every two seconds."""
PAGE = 200
_PREFECTS_OWN = re.compile(
    r"(Created|Beginning|Finished in state|Encountered .*exception|Task run failed|Retries are exhausted|"
    r"Worker '.+' submitting|Flow run '.+' submitted|Deployment step|All deployment steps|Running hook|"
    r"Hook '.+' finished|Engine execution|Opening process|Completed submission|Downloading|Runner|View at|"
    r"Process \d|Process for|Crash detected)"
)
"""What Prefect says of itself in a run's log."""
_WRAPPED = re.compile(r"^(Flow run encountered an exception|Task run encountered an exception|Crash detected!)[:.]?\s*")
_WAITING = {"Scheduled": "waits for a worker", "Late": "waits for a worker, longer than it should (`sgpo status`)",
            "AwaitingConcurrencySlot": "waits for the run before it", "Pending": "starts", "Running": "runs",
            "AwaitingRetry": "waits, and is tried again", "Retrying": "is tried again"}  # fmt: skip


class Follower:
    """Follows one flow run and its parts; every line of its log is said once, in the order of their times."""

    def __init__(self, client: SyncPrefectClient, flow_run_id: UUID, say: Callable[[str], None]) -> None:
        self._client, self._id, self._say = client, flow_run_id, say
        self._ids, self._seen = [flow_run_id], set[UUID]()
        self._newest: datetime | None = None

    def follow(self, sleep: Callable[[float], None] = time.sleep) -> FlowRun:
        """Say what happens until the run has ended; returns it. A server that does not answer is asked again."""
        told = None
        while True:
            try:
                run = self._client.read_flow_run(self._id)
                name = run.state.name if run.state else "Scheduled"
                if name != told and name in _WAITING:
                    self._say(f"{run.name} {_WAITING[name]}")
                told = name
                self._say_log()
            except httpx.TransportError as error:
                if told != "away":
                    self._say(f"Prefect does not answer, and is asked again: {type(error).__name__}: {error}")
                told = "away"
            else:
                if run.state and run.state.is_final():
                    self._drain(sleep)
                    return run
            sleep(POLL_S)

    def _drain(self, sleep: Callable[[float], None]) -> None:
        for _ in range(round(DRAIN_S / POLL_S)):
            sleep(POLL_S)
            with suppress(httpx.TransportError):  # how the run ended is known, and told without its last lines
                self._say_log()

    def _say_log(self) -> None:
        for log in self._new_logs():
            if line := said_of(log):
                self._say(line)

    def _new_logs(self) -> Sequence[Log]:
        parts = self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=list(self._ids)))
        )
        self._ids += [run.id for run in parts if run.id not in self._ids]
        since: Any = self._newest - LATE if self._newest else None
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=self._ids), timestamp=LogFilterTimestamp(after_=since)
        )  # fmt: skip
        found: list[Log] = []
        while True:
            page = self._client.read_logs(wanted, limit=PAGE, offset=len(found), sort=LogSort.TIMESTAMP_ASC)
            found += page
            if len(page) < PAGE:
                break
        new = [log for log in found if log.id not in self._seen]
        self._seen |= {log.id for log in new}
        if found:
            self._newest = found[-1].timestamp
        return new


def said_of(log: Log) -> str:
    """Return what is said of a line of the log: nothing of Prefect's own ones, and never a traceback."""
    line = log.message.partition("Traceback (most recent call last)")[0].strip()
    return "" if _PREFECTS_OWN.match(line) or not line else line


def ending_of(run: FlowRun) -> str:
    """Return how a run ended, in one sentence: the decision, or why there is none."""
    state = run.state
    assert state is not None
    message = reason_of(state)
    if state.is_completed():
        return message or "completed"
    return f"{(state.name or state.type.value).lower()}: {message or 'without a reason'}"


def reason_of(state: State) -> str:
    """Return a state's message in one line, without what Prefect wraps an exception in."""
    return _WRAPPED.sub("", " ".join((state.message or "").split()))
