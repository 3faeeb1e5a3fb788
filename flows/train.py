"""Flow: SGPO training as a process of its own."""

from __future__ import annotations

from prefect import flow, task

from flows.champion import CHAMPION_FOLDER
from flows.parameters import Overrides, Recipe, RunId, run_folder, setting_arguments, settings_of
from flows.process import REPOSITORY, can_help_to_retry, run_command, training_command


@task(
    task_run_name="train {run_id}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=can_help_to_retry,
)
def train_process(recipe: str, overrides: list[str], run_id: str) -> str:
    """`sgpo train`, under torchrun where the recipe asks for several processes; goes on from the newest checkpoint."""
    settings = settings_of(recipe, overrides)
    folder = run_folder(settings, run_id)
    if not (REPOSITORY / folder / "model" / "config.json").is_file():
        arguments = ["--model", str(CHAMPION_FOLDER), "--run", str(folder), *setting_arguments(recipe, overrides)]
        run_command(training_command(settings.processes, "train", *arguments))
    return str(folder / "model")


@flow(name="train", flow_run_name="train {run_id}")
def train(
    recipe: Recipe = "configs/testbed.yaml", overrides: Overrides | None = None, run_id: RunId = "manual"
) -> str:
    """Train a challenger from the champion; returns its model folder."""
    return train_process(recipe, overrides or [], run_id or "manual")
