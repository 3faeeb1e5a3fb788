"""Events that start flows (`triggers` in prefect.yaml), and sending one: `python -m flows.events data-landed WHAT`."""

import sys
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import typer
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event, Resource
from prefect.settings import PREFECT_API_URL

DATA_LANDED = "sgpo.data.landed"
PROMOTE_REQUESTED = "sgpo.registry.promote-requested"
ROLL_BACK_REQUESTED = "sgpo.registry.roll-back-requested"
CHAMPION_MOVED = "sgpo.registry.champion-moved"


class EventNotSentError(RuntimeError):
    """Prefect's API did not take the event; the message is one line."""


async def send(event: str, about: str, payload: dict[str, Any], identity: UUID | None = None) -> None:
    """Send an event about the resource `about`, and wait until the server has it.

    `emit_event` would send it in the background and lose it without a word when the server is away. The same `identity`
    makes a repeated event the same event. Raises EventNotSentError.
    """
    if not PREFECT_API_URL.value():
        raise EventNotSentError("PREFECT_API_URL is not set (expected the server's, such as http://127.0.0.1:4200/api)")
    content = Event(
        event=event, resource=Resource({"prefect.resource.id": about}), payload=payload, id=identity or uuid4()
    )
    try:
        async with get_client() as client:
            await client.request("POST", "/events", json=[content.model_dump(mode="json")])
    except httpx.HTTPError as error:
        raise EventNotSentError(f"{PREFECT_API_URL.value()}: {event} not sent: {error}") from error


app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def _commands() -> None:
    """Send an event to Prefect."""


@app.command("data-landed")
def data_landed(what: Annotated[str, typer.Argument(help="What is new, for the record")]) -> None:
    """Say that new problems or responses are in place: retrain."""
    import asyncio

    try:
        asyncio.run(send(DATA_LANDED, "sgpo.data", {"what": what}))
    except EventNotSentError as error:
        sys.exit(f"EventNotSentError: {error}")
    print(f"{DATA_LANDED} sent: {what}")


if __name__ == "__main__":
    app()
