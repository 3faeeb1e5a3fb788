"""Receiver of MLflow's registry webhooks: `python -m flows.webhook`. A genuine request becomes a Prefect event.

Prefect's own incoming webhooks are a service of its cloud. The secret is in SGPO_WEBHOOK_SECRET, and in MLflow's
webhook, which `--register` makes; it is in no log, event or parameter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import typer
from aiohttp import web

from flows.deliveries import RefusedDeliveryError, SeenDeliveries, verify
from flows.events import EventNotSentError, send
from flows.local.recipe import recipe_of
from flows.parameters import settings_of
from flows.process import REPOSITORY
from flows.registry_requests import NoRequestError, request_of
from sgpo.config import ConfigError, TrackingConfig
from sgpo.registry.store import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECRET_VARIABLE = "SGPO_WEBHOOK_SECRET"
SHORTEST_SECRET = 16
PATH = "/mlflow"
EVERY_ADDRESS = ("", "0.0.0.0", "::")
WEBHOOK_NAME = "sgpo"
WEBHOOK_EVENTS = ("model_version_tag.set", "model_version_alias.created")
_LONGEST_BODY = 2**16
logger = logging.getLogger("sgpo.webhook")


class Receiver:
    """Handles one delivery after another, so that two of the same are not both taken."""

    def __init__(self, secret: str, recipe: str, tracking: TrackingConfig, seen: SeenDeliveries) -> None:
        self._secret, self._recipe, self._tracking, self._seen = secret, recipe, tracking, seen
        self._one_at_a_time = asyncio.Lock()

    def application(self) -> web.Application:
        """POST /mlflow, and GET /health."""
        application = web.Application(client_max_size=_LONGEST_BODY)
        application.add_routes([web.post(PATH, self._receive), web.get("/health", _health)])
        return application

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._one_at_a_time:
            try:
                delivery = verify(self._secret, request.headers, body, time.time())
                self._seen.take(delivery)
            except RefusedDeliveryError as error:
                logger.warning("refused a delivery from %s: %s", request.remote, error)
                return web.json_response({"refused": str(error)}, status=error.status)
            try:
                return await self._act(delivery, body)
            except NoRequestError as error:
                logger.info("%s: starts nothing: %s", delivery, error)
                return web.json_response({"nothing": str(error)})
            except BaseException as error:  # ours, too: what is answered with 500 is sent again
                self._seen.forget(delivery)
                if not isinstance(error, EventNotSentError | RegistryError):
                    raise
                logger.error("%s: MLflow is asked to send it again: %s", delivery, error)
                return web.json_response({"later": str(error)}, status=503)

    async def _act(self, delivery: str, body: bytes) -> web.Response:
        try:
            content = json.loads(body)
        except ValueError:
            raise NoRequestError("the body is not JSON") from None
        if not isinstance(content, dict):
            raise NoRequestError("the body is not a JSON object")
        request = await asyncio.to_thread(request_of, content, self._tracking)
        about = f"sgpo.registry.{self._tracking.registered_model}"
        payload = {**request.payload, "recipe": self._recipe}
        await send(request.event, about, payload, uuid5(NAMESPACE_URL, f"mlflow-delivery:{delivery}"))
        logger.info("%s: %s %s", delivery, request.event, json.dumps(payload))
        return web.json_response({"event": request.event}, status=202)


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def register_webhook(client: MlflowClient, url: str, secret: str) -> None:
    """Make MLflow send to `url`, or send there from now on; signed with `secret`, which MLflow keeps encrypted."""
    from mlflow.entities.webhook import WebhookStatus

    page: Any = client.list_webhooks()
    found = next((webhook for webhook in page if webhook.name == WEBHOOK_NAME), None)
    if found is None:
        client.create_webhook(WEBHOOK_NAME, url, list(WEBHOOK_EVENTS), "Asks sgpo to promote or roll back", secret)
    else:
        client.update_webhook(
            found.webhook_id, url=url, events=list(WEBHOOK_EVENTS), secret=secret, status=WebhookStatus.ACTIVE
        )


def main(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on")] = 4280,
    recipe: Annotated[
        str | None, typer.Option(help="Run recipe, which names the registered model; default: prefect.yaml's")
    ] = None,
    seen: Annotated[Path, typer.Option(help="File that remembers the last minutes' deliveries")] = Path(
        ".sgpo/services/deliveries.sqlite"
    ),
    register: Annotated[
        str, typer.Option(help="MLflow server to register the webhook in; empty: it is registered already")
    ] = "",
    address: Annotated[
        str, typer.Option(help="Address to register, at which MLflow reaches this receiver; default: http://HOST:PORT")
    ] = "",
) -> None:
    """Receive MLflow's registry webhooks."""
    _log_to_stderr()
    secret = os.environ.get(SECRET_VARIABLE, "")
    if len(secret) < SHORTEST_SECRET:
        sys.exit(f"{SECRET_VARIABLE}: {len(secret)} characters (expected a secret of at least {SHORTEST_SECRET})")
    if register and not address and host in EVERY_ADDRESS:
        sys.exit(f"--host {host!r}: nothing can be sent there (expected --address, MLflow's way here, with --register)")
    recipe = recipe or recipe_of(REPOSITORY)
    try:
        tracking = settings_of(recipe, ()).tracking
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")
    application = Receiver(secret, recipe, tracking, SeenDeliveries(seen)).application()
    if register:
        from sgpo.tracking.client import connect

        client = connect(tracking.model_copy(update={"mlflow_uri": register}))
        here = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        register_webhook(client, f"{(address or here).rstrip('/')}{PATH}", secret)
        logger.info("MLflow at %s sends here", register)
    web.run_app(application, host=host, port=port, print=None, access_log=None)


def _log_to_stderr() -> None:
    """Our lines alone: Prefect has set up the root logger for its own when it was imported."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


if __name__ == "__main__":
    typer.run(main)
