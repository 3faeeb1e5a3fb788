"""Figures of `growth.py`: what so many retrainings before cost the next one, in MLflow and in Prefect."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

POSTGRES = "GROWTH_POSTGRES"
"""The environment variable with the server's address, for the processes of single figures."""
TASKS, LINES = 14, 150
"""Task runs and log lines of one run of `retrain`, about."""


def _database(name: str, driver: str) -> str | None:
    """Return the address of a database on the Postgres server, made where it is new; None without a server."""
    if not (server := os.environ.get(POSTGRES)):
        return None
    import psycopg2

    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True  # a database cannot be made in a transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone() is None:
            cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
    return f"{server.replace('postgresql:', f'postgresql+{driver}:', 1)}/{name}"


def _registry(size: int, folder: Path) -> tuple[Any, Path]:
    """Return a registry with so many retrainings, each a version with metrics and a recorded decision."""
    from safetensors.numpy import save_file

    from sgpo.config import TrackingConfig
    from sgpo.registry.models import register_model_folder
    from sgpo.registry.promotion import set_champion

    model, home = folder / "model", folder / f"mlflow-{size}"
    uri = _database(f"growth_mlflow_{folder.name}_{size}", "psycopg2") or f"sqlite:///{home}/mlflow.db"
    tracking = TrackingConfig(mlflow_uri=uri, artifact_root=str(home / "artifacts"))
    if not home.exists():
        home.mkdir()
        model.mkdir(exist_ok=True)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (model / name).write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
        save_file({"weight": np.zeros(1, dtype=np.float32)}, model / "model.safetensors")
        for number in range(size):
            version = register_model_folder(tracking, model, {}, f"run-{number}", {"eval/average": 0.5})
            set_champion(tracking, version, "the benchmark", f"retraining {number}")
    return tracking, model


def one_more(size: int, folder: Path) -> Callable[[], object]:
    """One more retraining: registered, and a decision recorded."""
    from sgpo.registry.models import register_model_folder
    from sgpo.registry.promotion import set_champion

    tracking, model = _registry(size, folder)
    register_model_folder(tracking, model, {}, "warm", {"eval/average": 0.5})  # opens the store

    def record() -> None:
        version = register_model_folder(tracking, model, {}, "more", {"eval/average": 0.5})
        set_champion(tracking, version, "the benchmark", "one more")

    return record


def show(size: int, folder: Path) -> Callable[[], object]:
    """What `sgpo registry show` reads: aliases, every decision, gaps."""
    from sgpo.registry.records import aliases, gaps, history

    tracking, _ = _registry(size, folder)
    aliases(tracking)  # opens the store
    return lambda: gaps(history(tracking), aliases(tracking).get("champion"))


def _prefect(size: int, folder: Path) -> None:
    """Start a Prefect server whose database has so many completed runs, for this process's clients."""
    from flows.server import prefect_server, wait_for

    home = folder / f"prefect-{size}"
    new = not home.exists()
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    if address := _database(f"growth_prefect_{folder.name}_{size}", "asyncpg"):
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = address
    running = ExitStack()
    atexit.register(running.close)
    api = running.enter_context(prefect_server(home))
    os.environ |= {"PREFECT_API_URL": api, "PREFECT_HOME": str(home), "PREFECT_LOGGING_LEVEL": "ERROR"}
    wait_for(api)
    if new:
        asyncio.run(_fill(size))


async def _fill(size: int) -> None:
    """Tell the server of so many runs, each with its tasks and log lines, as a run of `retrain` tells it of them."""
    from prefect import flow, task
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import LogCreate
    from prefect.states import Completed
    from prefect.types import DateTime

    retrain = flow(lambda: None, name="retrain")
    work = task(lambda: None, name="a task")
    async with get_client() as client:
        for number in range(size):
            run = await client.create_flow_run(retrain, name=f"run {number}", state=Completed())
            for place in range(TASKS):
                await client.create_task_run(work, run.id, dynamic_key=str(place), state=Completed())
            lines = [
                LogCreate(name="a run", level=20, message=f"step {line}", timestamp=DateTime.now("UTC"),
                          flow_run_id=run.id)
                for line in range(LINES)
            ]  # fmt: skip
            await client.create_logs(lines)


def retraining_in_prefect(size: int, folder: Path) -> Callable[[], object]:
    """One more run of a flow with as many tasks as `retrain`, from its start to its completion."""
    _prefect(size, folder)
    from prefect import flow, task

    work = task(lambda number: number, name="a task")

    @flow(name="retrain")
    def retrain() -> None:
        for number in range(TASKS):
            work(number)

    retrain()  # the first one imports
    return retrain


def page_of_runs(size: int, folder: Path) -> Callable[[], object]:
    """What Prefect's page of runs asks for: the newest fifty, how many there are, and one run's tasks and lines."""
    _prefect(size, folder)
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, LogFilter
    from prefect.client.schemas.sorting import FlowRunSort

    async def ask() -> None:
        async with get_client() as client:
            runs = await client.read_flow_runs(limit=50, sort=FlowRunSort.START_TIME_DESC)
            await client.count_flow_runs()
            one = {"any_": [runs[-1].id]}
            await client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": one}))
            await client.read_logs(LogFilter.model_validate({"flow_run_id": one}), limit=200)

    asyncio.run(ask())
    return lambda: asyncio.run(ask())
