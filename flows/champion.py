"""The champion: its files in the folder that the data stages read, and its alias where a person has moved it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.definitions import retried_task
from flows.limits import one_change_of_champion
from flows.process import REPOSITORY, show
from sgpo.config import TrackingConfig
from sgpo.registry.models import download_version, version_exists
from sgpo.registry.promotion import CHAMPION, aliases, history
from sgpo.registry.records import ChampionChange
from sgpo.registry.store import open_registry

CHAMPION_FOLDER = Path("data/champion")
DECISIONS = "sgpo.decisions"
"""Label of a flow run: how many decisions were recorded when it looked first. What it has done itself comes later."""

SeenT = TypeVar("SeenT", int, str)


@retried_task("fetch {version}", 2 * 3600)
def fetch_champion(tracking: TrackingConfig, version: str = CHAMPION) -> str:
    """Restore a version (number or alias) into data/champion, checksums verified; returns its number."""
    return download_version(tracking, version, REPOSITORY / CHAMPION_FOLDER)


@retried_task("compare the champion with the record", 1200)
def put_back_recorded_champion(tracking: TrackingConfig) -> None:
    """Put the alias back where the record has it, when somebody has moved it past the record in MLflow's own page.

    What that person wanted is then done in the ordinary way, so that `previous` and the history are right after it.
    """
    # A change that is half done, here or on another machine, is not one by hand.
    with one_change_of_champion(tracking), open_registry(tracking, write=True) as client:
        recorded, now = champion_in_record(tracking), aliases(tracking).get(CHAMPION)
        if recorded is not None and not version_exists(client, tracking, recorded):
            recorded = None  # deleted since: there is nothing to put back
        if now == recorded:
            return
        show(f"  the champion was moved by hand to {now or 'none'}; put back to {recorded or 'none'} for now")
        if recorded is None:
            client.delete_registered_model_alias(tracking.registered_model, CHAMPION)
        else:
            client.set_registered_model_alias(tracking.registered_model, CHAMPION, recorded)


def champion_in_record(tracking: TrackingConfig) -> str | None:
    """Return the champion after the last recorded decision; None before the first."""
    decisions = history(tracking)
    return decisions[-1].after if decisions else None


def seen_first(label: str, look: Callable[[], SeenT | None]) -> SeenT | None:
    """Return what `look` returned when this flow run called it first, in whichever try; it is kept as its label.

    A later try, Prefect's Retry too, must not take for the beginning what an earlier one has made of it.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
        if label in run.labels:
            return run.labels[label]  # pyright: ignore[reportReturnType]  (as it was kept)
        now = look()
        if now is not None:
            client.update_flow_run_labels(run.id, {label: now})
        return now


def decisions_at_first(tracking: TrackingConfig) -> int:
    """Return how many decisions were recorded when this flow run looked first, in whichever try."""
    return seen_first(DECISIONS, lambda: len(history(tracking))) or 0


def made_since(tracking: TrackingConfig, known: int, **asked: str) -> list[ChampionChange]:
    """Return the decisions after the `known` ones whose fields are as `asked`: what an earlier try has made already."""
    return [
        made
        for made in history(tracking)[known:]
        if all(getattr(made, field) == value for field, value in asked.items())
    ]


def publish_change(change: ChampionChange, what: str) -> ChampionChange:
    """Say what became of the champion, in the log and as the artifact `decision`; returns the change."""
    show(f"  {change.describe()}")
    reasons = "".join(f"- {reason}\n" for reason in change.reasons)
    create_markdown_artifact(f"**{change.describe()}**\n\n{reasons}", key="decision", description=what)
    return change
