"""Flow: SGPO training as a process of its own."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.hooks import tell_what_next
from flows.limits import one_training, this_checkout
from flows.names import run_name
from flows.parameters import (
    Overrides,
    Recipe,
    RunId,
    Settings,
    all_overrides,
    described,
    setting_arguments,
    settings_of,
)
from flows.phases import log_rollouts
from flows.process import REPOSITORY, can_help_to_retry, run_command, show, training_command
from flows.progress import Progress
from flows.runs import new_run_id, run_folder, start_run


@task(
    task_run_name="train {run_id}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=can_help_to_retry,
    cache_policy=NO_CACHE,  # a run directory knows what is done
    timeout_seconds=7 * 24 * 3600,
)
def train_process(recipe: str, overrides: list[str], run_id: str) -> str:
    """`sgpo train`, under torchrun where the recipe asks for several processes; goes on from the newest checkpoint."""
    settings = settings_of(recipe, overrides)
    folder = run_folder(settings, run_id)
    if (REPOSITORY / folder / "model" / "config.json").is_file():
        show("  trained already")
        return str(folder / "model")
    arguments = ["--model", str(CHAMPION_FOLDER), "--run", str(folder), *setting_arguments(recipe, overrides)]
    progress = Progress("training-progress", f"Training {run_id}")
    with one_training(settings.tracking):
        run_command(training_command(settings.processes, "train", *arguments), heard=progress.hear_step)
    return str(folder / "model")


@flow(
    name="train",
    flow_run_name=run_name("train"),
    on_failure=[tell_what_next],
    on_crashed=[tell_what_next],
    on_cancellation=[tell_what_next],
)
@described
def train(
    recipe: Recipe = "configs/testbed.yaml",
    run_id: RunId = "",
    settings: Settings = None,
    overrides: Overrides = (),
) -> str:
    """Train a challenger from the champion on the data as they are; returns its model folder."""
    chosen = all_overrides(overrides, settings)
    config, run_id = settings_of(recipe, chosen), run_id or new_run_id("train")
    with this_checkout():
        start = start_run(config, run_id)
        fetch_champion(config.tracking, start.champion)
        model = train_process(recipe, chosen, run_id)
        log_rollouts(config, run_id)
        return model
