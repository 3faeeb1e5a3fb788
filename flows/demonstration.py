"""Flow: the testbed's base model registered as champion, then one retraining, told to the person at the terminal."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from prefect import flow

from flows.data_versions import reproduce
from flows.limits import this_checkout
from flows.process import REPOSITORY, CommandFailed, show
from flows.retrain import PhaseClock, retrain
from flows.runs import demo_run_id, read_start, run_folder
from sgpo.config import ConfigError, RunConfig
from sgpo.config.pipeline import load_params
from sgpo.evaluation.scores import EvaluationError
from sgpo.files import write_json
from sgpo.pipeline.report import Summary, describe
from sgpo.registry.models import ModelFolderError, register_base_model
from sgpo.registry.promotion import set_champion
from sgpo.registry.store import RegistryError
from sgpo.report.page import write_report
from sgpo.study.shown import TABLE, describe_shown
from sgpo.tracking.client import connect, sqlite_path
from sgpo.tracking.tracker import parent_of

STUDY, RESULTS = "configs/studies/testbed.yaml", "docs/measured/study.jsonl"
KNOWN_ERRORS = (CommandFailed, ConfigError, EvaluationError, ModelFolderError, RegistryError)
"""What is one line for the person at the terminal."""


def prepare(settings: RunConfig) -> None:
    """Import MLflow and make its tables, seconds that are free while Prefect's API starts; trouble shows later."""
    if sqlite_path(settings.tracking):
        with suppress(Exception):
            connect(settings.tracking).search_registered_models(max_results=1)


def run(settings: RunConfig, recipe: str, overrides: tuple[str, ...]) -> None:
    """Run the demo and print what came of it; a known error is one line and exit code 1."""
    begun = time.perf_counter()
    try:
        base = REPOSITORY / "data" / "base" / load_params(REPOSITORY / "params.yaml").base_model.family
        run_id = demo_run_id(settings, "summary.json")
        show(f"SGPO demo, run {run_id}: the world, its base model, and one retraining.")
        summary = demo.with_options(flow_run_name=f"demo {run_id}")(settings, base, recipe, overrides, run_id)
    except KNOWN_ERRORS as error:
        sys.exit(f"\n{type(error).__name__}: {error}\nRun `make demo` again: it resumes from what is done.")
    folder = run_folder(settings, run_id)
    show(f"\n{'=' * 100}\n{describe(summary)}")
    _show_baseline(settings, base)
    show(f"\n{time.perf_counter() - begun:.0f} s in all.")
    show(f"Report: {folder}/report/report.html   Numbers: {folder}/summary.json")
    show_where_to_look(settings, folder)


@flow(name="demo")
def demo(settings: RunConfig, base: Path, recipe: str, overrides: tuple[str, ...], run_id: str) -> Summary:
    """Make the world and its base model, the base model champion, and one retraining."""
    clock = PhaseClock()
    with this_checkout():
        with clock.phase("world and base model (built once, then cached by DVC)"):
            reproduce("world")
            reproduce("base_model")
        if read_start(settings, run_id) is None:
            with clock.phase("base model registered as champion"):
                _register_base(settings, base)
        summary = retrain(recipe, run_id, overrides=overrides)
    assert summary is not None  # as it is of a dry run
    summary = summary.model_copy(update={"seconds": {**clock.seconds, **summary.seconds}})
    folder = run_folder(settings, run_id)
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    write_report(folder, folder / "report" / "report.html")  # again, with the seconds of these phases
    return summary


def _register_base(settings: RunConfig, folder: Path) -> None:
    """Make the base model champion, whatever an earlier demo promoted: every demo shows the same retraining."""
    version = register_base_model(settings.tracking, folder, folder.name)
    change = set_champion(settings.tracking, version, who="demo", why="The demo starts from the base model.")
    show(f"  {change.describe()}")


def _show_baseline(settings: RunConfig, base: Path) -> None:
    """Print what this recipe and GRPO get with the same budget from this model, from the committed study."""
    lines = describe_shown(REPOSITORY / RESULTS, REPOSITORY / settings.data / "problems" / "held_out.parquet", base)
    if not lines:
        show(f"\nNo line of {RESULTS} is of this base model and these problems: what GRPO gets is not known here.")
        return
    show(f"\nThis recipe and GRPO with the same 12 rollouts a problem, over seeds, on these problems ({RESULTS}):")
    show("\n".join(lines))
    show(f"  again: delete these lines and run `sgpo study {STUDY} --table {TABLE}`")


def show_where_to_look(settings: RunConfig, folder: Path) -> None:
    """Print the commands that open MLflow and Prefect on this very run."""
    from mlflow import MlflowClient

    programs, store = Path(sys.executable).parent, settings.tracking.mlflow_uri
    show("\nThis run in MLflow:")
    show(f"  {programs}/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri {store}")
    id_file = parent_of(folder) / "mlflow_run_id"
    if id_file.is_file():
        mlflow_id = id_file.read_text(encoding="utf-8").strip()
        experiment = MlflowClient(store).get_run(mlflow_id).info.experiment_id
        show(f"  then http://127.0.0.1:5000/#/experiments/{experiment}/runs/{mlflow_id}")
    show("This run in Prefect:")
    show(f"  PREFECT_HOME={os.environ['PREFECT_HOME']} {programs}/prefect server start --host 127.0.0.1")
    show(f"  then http://127.0.0.1:4200/runs?flow-run-search={folder.name}")
