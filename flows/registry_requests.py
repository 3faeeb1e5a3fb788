"""What a model owner asks for by a tag or an alias in MLflow's page, as the Prefect event that starts the flow.

Tag `sgpo.request` on a version: `promote` lets the gate decide about it, `roll-back` on the champion makes the previous
one the champion again. The alias `champion` on another version: a roll-back when that is the previous champion, else
that version is the champion by the owner's word. What sgpo itself does to tags and aliases asks for nothing: the tag is
not ours, and an alias that agrees with the record of decisions was moved by us.
"""

from dataclasses import dataclass
from typing import Any

from flows.champion import champion_in_record
from flows.events import CHAMPION_MOVED, PROMOTE_REQUESTED, ROLL_BACK_REQUESTED
from sgpo.config import TrackingConfig
from sgpo.names import is_run_name
from sgpo.registry.lineage import RUN_ID_TAG
from sgpo.registry.models import find_version
from sgpo.registry.promotion import CHAMPION, PREVIOUS, aliases
from sgpo.registry.store import open_registry

REQUEST_TAG = "sgpo.request"
WHO = "a model owner in MLflow"


@dataclass(frozen=True, slots=True)
class Request:
    """An event to send, and its payload."""

    event: str
    payload: dict[str, str]


class NoRequestError(ValueError):
    """A genuine delivery that starts nothing; the message says why."""


def request_of(delivery: dict[str, Any], tracking: TrackingConfig) -> Request:
    """Return the request in MLflow's JSON; raises NoRequestError, or RegistryError when MLflow is away."""
    entity, action, data = delivery.get("entity"), delivery.get("action"), delivery.get("data")
    if not isinstance(data, dict) or data.get("name") != tracking.registered_model:
        raise NoRequestError(f"not about the registered model {tracking.registered_model}")
    if (entity, action) == ("model_version_tag", "set") and data.get("key") == REQUEST_TAG:
        return _by_tag(tracking, str(data.get("version")), str(data.get("value")))
    if (entity, action) == ("model_version_alias", "created") and data.get("alias") == CHAMPION:
        return _by_alias(tracking)
    raise NoRequestError(f"neither the tag {REQUEST_TAG} nor the alias {CHAMPION}")


def _by_tag(tracking: TrackingConfig, version: str, value: str) -> Request:
    why = f"The tag {REQUEST_TAG}={value} was set on version {version}."
    if value == "promote":
        with open_registry(tracking, write=False) as client:
            run_id = find_version(client, tracking, version).tags.get(RUN_ID_TAG, "")
        if not is_run_name(run_id):
            raise NoRequestError(f"version {version} has no run to promote (expected its tag {RUN_ID_TAG})")
        return Request(PROMOTE_REQUESTED, {"run_id": run_id, "version": version, "who": WHO, "why": why})
    if value == "roll-back":
        champion = aliases(tracking).get(CHAMPION)
        if champion != version:
            raise NoRequestError(f"version {version} is not the champion to roll back from, version {champion} is")
        return Request(ROLL_BACK_REQUESTED, {"champion": version, "who": WHO, "why": why})
    raise NoRequestError(f"{REQUEST_TAG}={value!r} on version {version} (expected promote or roll-back)")


def _by_alias(tracking: TrackingConfig) -> Request:
    """By where the alias is now, not by what was delivered: deliveries may come late, and in any order."""
    with open_registry(tracking, write=True):  # so that no change of our own is half done
        recorded, now = champion_in_record(tracking), aliases(tracking)
    champion = now.get(CHAMPION)
    if champion is None or champion == recorded:
        raise NoRequestError(f"the champion is version {recorded}, as recorded")
    why = f"The alias {CHAMPION} was set on version {champion}."
    if recorded is not None and champion == now.get(PREVIOUS):
        return Request(ROLL_BACK_REQUESTED, {"champion": recorded, "who": WHO, "why": why})
    return Request(CHAMPION_MOVED, {"version": champion, "who": WHO, "why": why})
