"""The text on a version's page."""

from sgpo.config import TrackingConfig
from sgpo.registry.store import open_registry


def write_description(tracking: TrackingConfig, version: str, text: str) -> None:
    """Set the description of a version. Raises RegistryError when there is no such version, or no answer."""
    with open_registry(tracking, write=True) as client:
        client.update_model_version(tracking.registered_model, version, description=text)
