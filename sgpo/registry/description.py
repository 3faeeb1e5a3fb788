"""The text on a version's page."""

from sgpo.config import TrackingConfig
from sgpo.registry.store import open_registry

DESCRIPTION_LENGTH = 5000
"""Characters that MLflow's tables keep of a version's description."""


def write_description(tracking: TrackingConfig, version: str, text: str) -> None:
    """Set the description of a version; a longer one is cut off, or Postgres would refuse it.

    Raises RegistryError when there is no such version, or no answer.
    """
    if len(text) > DESCRIPTION_LENGTH:
        text = f"{text[: DESCRIPTION_LENGTH - 1]}…"
    with open_registry(tracking, write=True) as client:
        client.update_model_version(tracking.registered_model, version, description=text)
