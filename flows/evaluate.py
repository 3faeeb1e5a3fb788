"""Flow: champion and challenger measured on the same held-out problems and seeds."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.logging import get_run_logger

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.definitions import recorded_flow, retried_task
from flows.limits import this_checkout
from flows.parameters import EvaluateSettings, Overrides, Recipe, RunName, all_overrides, setting_arguments, settings_of
from flows.phases import log_evaluation
from flows.process import REPOSITORY, run_command, training_command
from flows.runs import run_folder, started
from sgpo.config import EvaluationConfig, RunConfig, load_config
from sgpo.evaluation.better_worse import FILE, describe_better_worse, write_better_worse
from sgpo.evaluation.comparison import Comparison, Gain
from sgpo.evaluation.report import compare_files
from sgpo.evaluation.reuse import comparison_digest
from sgpo.evaluation.scores import EvaluationError
from sgpo.files import file_sha256


@retried_task("evaluate {who}", 12 * 3600, [5, 20])
def evaluate_process(recipe: str, overrides: list[str], model: str, output: str, who: str) -> None:
    """`sgpo evaluate`; an evaluation of the same weights, problems and settings is not repeated."""
    arguments = ["--model", model, "--output", output, *setting_arguments(recipe, overrides)]
    run_command(training_command(1, "evaluate", *arguments))


@task(
    task_run_name="compare {run_id}",
    cache_policy=INPUTS - "folder" + TASK_SOURCE,
    persist_result=True,
    result_serializer="json",
)
def compare_outcomes(
    run_id: str, settings: EvaluationConfig, seed: int, digests: list[str], folder: Path
) -> Comparison:
    """Return the paired comparison of the outcomes in `folder`; looked up where all that it depends on was the same.

    `digests` are of the files and of the code that compares them: the task's own source is the least part of it.

    Raises EvaluationError when they do not match.
    """
    config = load_config().model_copy(update={"seed": seed, "evaluation": settings})
    return compare_files(config, folder / "champion.jsonl", folder / "challenger.jsonl")


def comparison_of(config: RunConfig, run_id: str) -> Comparison:
    """Return a run's comparison; EvaluationError when it has not been evaluated."""
    folder = REPOSITORY / run_folder(config, run_id) / "evaluation"
    digests = [comparison_digest()]
    for who in ("champion", "challenger"):
        try:
            digests.append(file_sha256(folder / f"{who}.jsonl"))
        except FileNotFoundError:
            raise EvaluationError(f"{folder / f'{who}.jsonl'}: no such file (expected the flow evaluate's)") from None
    return compare_outcomes(run_id, config.evaluation, config.seed, digests, folder)


@recorded_flow(name="evaluate", flow_run_name="evaluate {run_id}")
def evaluate(
    run_id: RunName,
    recipe: Recipe = "configs/testbed.yaml",
    settings: EvaluateSettings = None,
    overrides: Overrides = (),
) -> Comparison:
    """Measure a run's model and the champion it began from, and compare them problem by problem."""
    chosen = all_overrides(overrides, settings)
    config = settings_of(recipe, chosen)
    folder = run_folder(config, run_id)
    models = {"champion": CHAMPION_FOLDER, "challenger": folder / "model"}
    with this_checkout():
        fetch_champion(config.tracking, started(config, run_id).champion)
        for who, model in models.items():
            evaluate_process(recipe, chosen, str(model), str(folder / "evaluation" / f"{who}.jsonl"), who)
        comparison = comparison_of(config, run_id)
        list_changes(REPOSITORY / folder / "evaluation")
        log_evaluation(config, run_id, comparison)
    rows = [
        {
            "problems": name, "champion": f"{gain.champion:.1%}", "challenger": f"{gain.challenger:.1%}",
            "gain": f"{gain.difference.value:+.1%}",
            "interval": f"{gain.difference.low:+.1%} to {gain.difference.high:+.1%}", **_lenient(gain),
        }
        for name, gain in comparison.rows()
    ]  # fmt: skip
    what = f"{comparison.name_of_average} on held-out problems, paired"
    create_table_artifact(rows, key="comparison", description=what)
    return comparison


def list_changes(folder: Path) -> None:
    """Write beside a comparison which problems got better and which got worse, with answers of both models."""
    changed = write_better_worse(folder / "champion.jsonl", folder / "challenger.jsonl", folder / FILE)
    get_run_logger().info("%s: %s", folder / FILE, describe_better_worse(changed))


def _lenient(gain: Gain) -> dict[str, str]:
    """Return the columns of lenient accuracy, none where it is not known for both models."""
    if gain.lenient is None:
        return {}
    champion, challenger = gain.lenient.champion, gain.lenient.challenger
    return {"lenient champion": f"{champion:.1%}", "lenient challenger": f"{challenger:.1%}"}
