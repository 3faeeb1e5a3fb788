"""What a download from the registry would fetch."""

from pathlib import Path

from sgpo.config import TrackingConfig
from sgpo.forecast import Forecast
from sgpo.registry.models import stored_sizes


def forecast_download(tracking: TrackingConfig, version_or_alias: str, target: Path) -> Forecast:
    """Return how many files and bytes a version has; fetches nothing. Raises RegistryError where it has none."""
    location, sizes = stored_sizes(tracking, version_or_alias)
    size = sum(size or 0 for size in sizes.values())
    says = f"{target}: {len(sizes)} files, {size:,} bytes, would be fetched from {location}"
    return Forecast(str(target), (says,), files=len(sizes), bytes=size)
