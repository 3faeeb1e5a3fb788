"""How a run began: kept in its directory, so that a run that goes on does so with the same champion and settings."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from pydantic import BaseModel, ValidationError

from flows.process import OUTAGE_S, REPOSITORY, can_help_to_retry
from sgpo.config import ConfigError, RunConfig
from sgpo.config.base import read_yaml
from sgpo.errors import one_line
from sgpo.files import first_difference, write_json
from sgpo.registry.promotion import CHAMPION, aliases
from sgpo.registry.store import RegistryError


class Start(BaseModel):
    """runs/<id>/start.json. `champion` is the version trained from and measured against, whoever is champion by now."""

    champion: str
    settings: dict[str, Any]
    params: str


def run_folder(settings: RunConfig, run_id: str) -> Path:
    """Return the run directory, relative to the repository."""
    return settings.runs / run_id


def new_run_id(kind: str) -> str:
    """Return a run directory's name when none is given: when the flow run was due, and the end of its id.

    So a flow run that is tried again, by Prefect or by its Retry button, goes on in its own directory.
    """
    due, flow_run_id = flow_run.scheduled_start_time or datetime.now(UTC), flow_run.id
    return run_id_of(kind, due, flow_run_id) if flow_run_id else f"{kind}-{due:%Y%m%d-%H%M%S}"


def run_id_of(kind: str, due: datetime, flow_run_id: str) -> str:
    """Return what `new_run_id` is in this flow run."""
    return f"{kind}-{due.astimezone(UTC):%Y%m%d-%H%M%S}-{flow_run_id[-4:]}"


def read_start(settings: RunConfig, run_id: str) -> Start | None:
    """How a run began; None when it has not. ConfigError when the file is not one that `start_run` writes."""
    path = REPOSITORY / run_folder(settings, run_id) / "start.json"
    try:
        return Start.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not the start of a run: {one_line(error)}") from None


def difference(settings: RunConfig, start: Start) -> str | None:
    """Return what a run that began so cannot go on with: the first changed setting, or params.yaml; None when it can.

    Settings of the evaluation and of the gate may change: what they are about is done again.
    """
    now = _kept(settings)
    if key := first_difference(start.settings, now):
        return f"{key} was {start.settings.get(key)!r}, now {now.get(key)!r}"
    return None if _params() == start.params else "params.yaml was another"


@task(
    task_run_name="start {run_id}",
    retries=len(OUTAGE_S),
    retry_delay_seconds=OUTAGE_S,
    retry_condition_fn=can_help_to_retry,
    cache_policy=NO_CACHE,
)
def start_run(settings: RunConfig, run_id: str) -> Start:
    """Note how the run begins, or return how it did; ConfigError when it cannot go on as it began."""
    folder = run_folder(settings, run_id)
    start = read_start(settings, run_id)
    if start is None:
        champion = aliases(settings.tracking).get(CHAMPION)
        if champion is None:
            raise RegistryError(
                f"{settings.tracking.registered_model}: no champion to train from (expected one set by "
                "`sgpo registry champion VERSION WHY`, or by `make demo`)"
            )
        start = Start(champion=champion, settings=_kept(settings), params=_params())
        write_json(REPOSITORY / folder / "start.json", start.model_dump())
    _check_registered_model(settings, run_id)
    if changed := difference(settings, start):
        raise ConfigError(f"{folder}: this run began with other settings ({changed}); choose another run id")
    return start


def started(settings: RunConfig, run_id: str) -> Start:
    """How a run began; ConfigError when there is no such run."""
    start = read_start(settings, run_id)
    if start is None:
        raise ConfigError(
            f"{run_folder(settings, run_id)}: no such run (expected one begun by the flow train or retrain)"
        )
    _check_registered_model(settings, run_id)
    return start


def _check_registered_model(settings: RunConfig, run_id: str) -> None:
    """Raise ConfigError where training began with another registered model: versions of the two have equal numbers."""
    folder, now = run_folder(settings, run_id), settings.tracking.registered_model
    file = REPOSITORY / folder / "config.yaml"
    tracking = read_yaml(file).get("tracking") if file.is_file() else None
    began = tracking.get("registered_model") if isinstance(tracking, dict) else None
    if began not in (None, now):
        raise ConfigError(
            f"{folder}: tracking.registered_model was {began!r}, now {now!r} (expected the recipe of the run)"
        )


_MAY_CHANGE = ("training.stop_after_equal_steps",)
"""It changes no weight: a run that stopped by it may be resumed without it."""


def _kept(settings: RunConfig) -> dict[str, Any]:
    """Dotted settings that what is trained depends on."""
    kept = _flat(settings.model_dump(mode="json", include={"seed", "data", "warmup", "training"}))
    return {name: value for name, value in kept.items() if name not in _MAY_CHANGE}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _params() -> str:
    path = REPOSITORY / "params.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def demo_run_id(settings: RunConfig, ended: str) -> str:
    """Return the newest demo run without its file `ended` that began with these settings; else the next number."""
    names = sorted(path.name for path in settings.runs.glob("demo-[0-9][0-9][0-9]"))
    if names and not (run_folder(settings, names[-1]) / ended).is_file():
        start = read_start(settings, names[-1])
        if start is None or difference(settings, start) is None:
            return names[-1]
    return f"demo-{int(names[-1][-3:]) + 1 if names else 1:03d}"
