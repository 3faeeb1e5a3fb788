"""`python -m flows.serve`: the deployments of prefect.yaml served from code, for local use; no work pool, no worker.

They are those of the file, so that there is one definition. A run is a process of its own; Ctrl-C ends the serving.
"""

from pathlib import Path
from typing import Any

import yaml
from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron

from flows.process import REPOSITORY


def deployments(path: Path = REPOSITORY / "prefect.yaml") -> list[RunnerDeployment]:
    """Every deployment of the file."""
    return [_deployment(definition) for definition in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]]


def _deployment(definition: dict[str, Any]) -> RunnerDeployment:
    limit = definition["concurrency_limit"]
    strategy = ConcurrencyLimitStrategy(limit["collision_strategy"])
    flow = load_flow_from_entrypoint(definition["entrypoint"])
    made = flow.to_deployment(
        definition["name"],
        description=definition["description"],
        tags=definition["tags"],
        parameters=definition.get("parameters"),
        enforce_parameter_schema=definition["enforce_parameter_schema"],
        concurrency_limit=ConcurrencyLimitConfig(limit=limit["limit"], collision_strategy=strategy),
        schedules=[
            Cron(schedule["cron"], timezone=schedule["timezone"], slug=schedule["slug"], active=schedule["active"])
            for schedule in definition.get("schedules", [])
        ],
        triggers=[DeploymentEventTrigger.model_validate(trigger) for trigger in definition.get("triggers", [])],
    )
    assert isinstance(made, RunnerDeployment)
    return made


if __name__ == "__main__":
    serve(*deployments())  # pyright: ignore[reportArgumentType]  (a list of deployments, as it documents)
