"""Flow: SGPO training as a process of its own."""

from prefect.logging import get_run_logger

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.definitions import operated_flow, retried_task
from flows.limits import one_training, this_checkout
from flows.names import run_name
from flows.parameters import Overrides, Recipe, RunId, TrainSettings, all_overrides, setting_arguments, settings_of
from flows.phases import log_rollouts
from flows.process import REPOSITORY, run_command, show, training_command
from flows.progress import Progress
from flows.runs import new_run_id, run_folder, start_run
from sgpo.config import RunConfig
from sgpo.registry.unchanged import NothingLearntError, refuse_unchanged


@retried_task("train {run_id}", 7 * 24 * 3600, [5, 30])
def train_process(recipe: str, overrides: list[str], run_id: str) -> str:
    """`sgpo train`, under torchrun where the recipe asks for several processes; resumes from the newest checkpoint."""
    settings = settings_of(recipe, overrides)
    folder = run_folder(settings, run_id)
    if (REPOSITORY / folder / "model" / "config.json").is_file():
        show("  trained already")
        return str(folder / "model")
    arguments = ["--model", str(CHAMPION_FOLDER), "--run", str(folder), *setting_arguments(recipe, overrides)]
    progress = Progress("training-progress", f"Training {run_id}")
    with one_training(settings.tracking):
        run_command(training_command(settings.processes, "train", *arguments), on_line=progress.read_step)
    return str(folder / "model")


@operated_flow(name="train", flow_run_name=run_name("train"))
def train(
    recipe: Recipe = "configs/testbed.yaml",
    run_id: RunId = "",
    settings: TrainSettings = None,
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
        _look_for_a_change(config, model, start.champion)
        return model


def _look_for_a_change(config: RunConfig, model: str, champion: str) -> None:
    """Refuse a model that is the champion once more, or say so where the settings let it pass."""
    name = f"version {champion} of {config.tracking.registered_model}"
    try:
        refuse_unchanged(REPOSITORY / model, REPOSITORY / CHAMPION_FOLDER, name)
    except NothingLearntError as error:
        if config.checks.refuse_unchanged:
            raise
        show(f"  {error}")
        get_run_logger().warning("%s", error)
