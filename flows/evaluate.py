"""Flow: champion and challenger measured on the same held-out problems and seeds."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.parameters import (
    Overrides,
    Recipe,
    RunName,
    Settings,
    all_overrides,
    described,
    setting_arguments,
    settings_of,
)
from flows.process import REPOSITORY, can_help_to_retry, run_command, sgpo_command
from flows.runs import run_folder, started
from sgpo.evaluation.comparison import Comparison
from sgpo.evaluation.report import compare_files


@task(
    task_run_name="evaluate {who}",
    retries=2,
    retry_delay_seconds=[5, 20],
    retry_condition_fn=can_help_to_retry,
)
def evaluate_process(recipe: str, overrides: list[str], model: str, output: str, who: str) -> None:
    """`sgpo evaluate`; an evaluation of the same weights, problems and settings is not repeated."""
    arguments = ["--model", model, "--output", output, *setting_arguments(recipe, overrides)]
    run_command(sgpo_command("evaluate", *arguments))


@flow(name="evaluate", flow_run_name="evaluate {run_id}")
@described
def evaluate(
    run_id: RunName,
    recipe: Recipe = "configs/testbed.yaml",
    settings: Settings = None,
    overrides: Overrides = (),
) -> Comparison:
    """Measure a run's model and the champion it began from, and compare them problem by problem."""
    chosen = all_overrides(overrides, settings)
    config = settings_of(recipe, chosen)
    fetch_champion(config.tracking, started(config, run_id).champion)
    folder = run_folder(config, run_id)
    files = {who: folder / "evaluation" / f"{who}.jsonl" for who in ("champion", "challenger")}
    models = {"champion": CHAMPION_FOLDER, "challenger": folder / "model"}
    for who, output in files.items():
        evaluate_process(recipe, chosen, str(models[who]), str(output), who)
    comparison = compare_files(config, REPOSITORY / files["champion"], REPOSITORY / files["challenger"])
    rows = [
        {
            "problems": name, "champion": f"{gain.champion:.1%}", "challenger": f"{gain.challenger:.1%}",
            "gain": f"{gain.difference.value:+.1%}",
            "interval": f"{gain.difference.low:+.1%} to {gain.difference.high:+.1%}",
        }
        for name, gain in [*comparison.tiers.items(), ("all", comparison.overall)]
    ]  # fmt: skip
    create_table_artifact(rows, key="comparison", description=f"avg@{comparison.k} on held-out problems, paired")
    return comparison
