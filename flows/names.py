"""Names of flow runs: what they do and to which run directory, model or version."""

from collections.abc import Callable
from typing import Any

from prefect.runtime import flow_run

from flows.runs import new_run_id


def run_name(kind: str) -> Callable[[], str]:
    """`<kind> <run id>` for a flow that makes its run id up when none is given, by `new_run_id(kind)`."""

    def name() -> str:
        return f"{kind} {_parameters().get('run_id') or new_run_id(kind)}"

    return name


def probe_name() -> str:
    """Which version is probed."""
    version = _parameters().get("version")
    return f"probe version {version}" if version else "probe the champion"


def promote_name() -> str:
    """Which run is decided on, and whether only to tell."""
    parameters = _parameters()
    return f"promote {parameters['run_id']}{' (dry run)' if parameters.get('dry_run') else ''}"


def roll_back_name() -> str:
    """From which version, where that is given."""
    champion = _parameters().get("champion")
    return f"roll back from version {champion}" if champion else "roll back the champion"


def _parameters() -> dict[str, Any]:
    return flow_run.parameters
