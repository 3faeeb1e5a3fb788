"""Flow: the weekly retraining. New strategies, a probe of the champion, a challenger, a measurement, a decision."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from flows.champion import fetch_champion
from flows.data_versions import Md5s, data_versions, push_data
from flows.evaluate import evaluate
from flows.extract_strategies import extract_strategies
from flows.generate_rollouts import generate_rollouts
from flows.parameters import Overrides, Recipe, RunId, run_folder, settings_of
from flows.process import REPOSITORY, show
from flows.promote import promote
from flows.train import train
from sgpo.config import RunConfig
from sgpo.evaluation.comparison import Comparison
from sgpo.files import write_json
from sgpo.registry.lineage import git_state
from sgpo.registry.promotion import ChampionChange
from sgpo.report import Summary, describe, draw_picture, read_metrics, training_means
from sgpo.tracking import evaluation_metric, open_tracker


@flow(name="retrain", flow_run_name="retrain {run_id}")
def retrain(
    recipe: Recipe = "configs/testbed.yaml",
    overrides: Overrides | None = None,
    run_id: RunId = None,
) -> Summary:
    """Retrain, measure and promote. A run id that was interrupted goes on from what is done."""
    overrides, settings = overrides or [], settings_of(recipe, overrides or [])
    run_id = run_id or f"retrain-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    clock = PhaseClock()
    with clock.phase("strategies"):
        extract_strategies()
    with clock.phase("probe"):
        champion = fetch_champion(settings.tracking)
        generate_rollouts(recipe, overrides)
    with clock.phase("training"):
        train(recipe, overrides, run_id)
    with clock.phase("evaluation"):
        comparison = evaluate(recipe, overrides, run_id)
    with clock.phase("promotion"):
        change = promote(recipe, overrides, run_id, "Retraining.", champion)
    with clock.phase("report"):
        push_data()
        return report(settings, run_id, champion, comparison, change, data_versions(), clock.seconds)


@task(task_run_name="report {run_id}", retries=2, retry_delay_seconds=[2, 10])
def report(
    settings: RunConfig,
    run_id: str,
    champion: str,
    comparison: Comparison,
    change: ChampionChange,
    versions: Md5s,
    seconds: dict[str, float],
) -> Summary:
    """summary.json, the picture, artifacts, and the same numbers in MLflow."""
    folder = REPOSITORY / run_folder(settings, run_id)
    rows = read_metrics(folder)
    state = git_state(REPOSITORY)
    summary = Summary(
        run_id=run_id,
        registered_model=settings.tracking.registered_model,
        challenger_version=change.version,
        champion_before=champion,
        champion_after=change.after or champion,
        decision=change,
        comparison=comparison,
        training=training_means(rows),
        data_versions=versions,
        git_commit=f"{state[0]}{' with local changes' if state[1] else ''}" if state else None,
        seconds=seconds,
    )
    (folder / "report").mkdir(parents=True, exist_ok=True)
    picture = folder / "report" / "retraining.png"
    draw_picture(rows, comparison, picture)
    _log_to_mlflow(settings, run_id, summary, versions)
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    encoded = base64.b64encode(picture.read_bytes()).decode()
    create_image_artifact(f"data:image/png;base64,{encoded}", key="retraining", description=f"Retraining {run_id}")
    create_markdown_artifact(f"```\n{describe(summary)}\n```", key="summary", description=f"Retraining {run_id}")
    return summary


def _log_to_mlflow(settings: RunConfig, run_id: str, summary: Summary, versions: Md5s) -> None:
    folder = REPOSITORY / run_folder(settings, run_id)
    comparison = summary.comparison
    with open_tracker(settings, folder) as tracker:
        metrics = {evaluation_metric(name, comparison.k): gain.challenger for name, gain in comparison.tiers.items()}
        metrics["eval/average"] = comparison.overall.challenger
        metrics["eval/gain"] = comparison.overall.difference.value
        tracker.log(settings.training.steps, metrics)
        for name in ("data/strategies.parquet", "data/splits"):
            if name in versions:
                tracker.log_dataset(REPOSITORY / name, name, versions[name], "dvc", "training")
        tracker.set_tags({"sgpo.run_id": run_id, "sgpo.decision": summary.decision.action})
        tracker.log_artifact(folder / "report" / "retraining.png", "report")
        tracker.log_dict(summary.model_dump(mode="json"), "report/summary.json")


class PhaseClock:
    """Seconds of each phase, announced as it begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        show(f"\n== {name}")
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 1)


if __name__ == "__main__":
    show(describe(retrain()))
