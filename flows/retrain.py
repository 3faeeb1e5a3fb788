"""Flow: the weekly retraining. New strategies, a probe of the champion, a challenger, a measurement, a decision."""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.check import check_first, estimate_beside, estimate_tags, tell_what_it_takes
from flows.data_versions import Md5s, data_versions, push_data
from flows.definitions import recorded_flow, retried_task
from flows.evaluate import evaluate
from flows.extract_strategies import extract_strategies
from flows.generate_rollouts import generate_rollouts
from flows.limits import this_checkout
from flows.names import run_name
from flows.parameters import DryRunOfRetraining, Overrides, Recipe, RetrainSettings, RunId, all_overrides, settings_of
from flows.phases import evaluation_metrics, log_data, log_probe, log_strategies, open_retraining
from flows.process import REPOSITORY, show
from flows.progress import Progress
from flows.promote import RETRAINING, promote
from flows.repeats import TRAINING_DATA, same_retraining
from flows.report_link import link_report
from flows.runs import new_run_id, run_folder, start_run
from flows.train import train
from sgpo.config import ConfigError, RunConfig
from sgpo.config.pipeline import load_params
from sgpo.evaluation.comparison import Comparison
from sgpo.files import write_json
from sgpo.pipeline.report import Summary, commit_of, describe, read_metrics, training_means
from sgpo.pipeline.splits import check_warmup
from sgpo.registry.lineage import git_state
from sgpo.registry.promotion import ChampionChange
from sgpo.report.charts import draw_picture
from sgpo.report.decision import decision_in_a_sentence
from sgpo.report.page import write_report
from sgpo.tracking.tracker import RunTracker, open_tracker, parent_of

PHASES = 7


@recorded_flow(name="retrain", flow_run_name=run_name("retrain"))
def retrain(
    recipe: Recipe = "configs/testbed.yaml",
    run_id: RunId = "",
    dry_run: DryRunOfRetraining = False,
    settings: RetrainSettings = None,
    overrides: Overrides = (),
) -> Summary | None:
    """Retrain, measure and promote. A run id that was interrupted resumes from what is done.

    Without a run id, a retraining that would only repeat the last one ends before training, with that one's summary.
    A dry run checks the champion, says what the retraining would take, and returns nothing.
    """
    chosen = all_overrides(overrides, settings)
    config, named, run_id = settings_of(recipe, chosen), bool(run_id), run_id or new_run_id("retrain")
    if dry_run:
        tell_what_it_takes(config, recipe, chosen)
        return None
    check_warmup(config.warmup, load_params(REPOSITORY / "params.yaml"))
    ended = run_folder(config, run_id) / "summary.json"
    if (REPOSITORY / ended).is_file():
        raise ConfigError(f"{ended}: this run has ended; choose another run id")
    clock = PhaseClock(Progress("retrain-progress", f"Retraining {run_id}"), PHASES)
    with this_checkout():
        start = start_run(config, run_id)
        with open_retraining(config, run_id) as tracker:
            tracker.flush()  # the phases' runs are its children as soon as it has an id
            with clock.phase("check"):
                check_first(config, recipe, chosen, run_id, start.champion)
                tracker.set_tags(estimate_tags(config, run_id))
            with clock.phase("strategies"):
                extract_strategies()
                log_strategies(config, run_id)
            with clock.phase("probe"):
                generate_rollouts(recipe, start.champion, tuple(chosen))
                log_probe(config, run_id)
            if not named and (before := same_retraining(config, start, data_versions())):
                return _completed(_tell_of_nothing_new(tracker, run_id, before), before)
            with clock.phase("training"):
                train(recipe, run_id, overrides=tuple(chosen))
            with clock.phase("evaluation"):
                comparison = evaluate(run_id, recipe, overrides=tuple(chosen))
            with clock.phase("promotion"):
                change = promote(run_id, recipe, RETRAINING, overrides=tuple(chosen))
            with clock.phase("report"):
                push_data()
                summary = report(config, run_id, start.champion, comparison, change, data_versions(), clock.seconds)
                _log_summary(tracker, config, run_id, summary)
            if told := estimate_beside(config, run_id, clock.seconds):
                show(f"  {told}")
                get_run_logger().info("%s", told)
    write_json(REPOSITORY / ended, summary.model_dump(mode="json"))
    return _completed(decision_in_a_sentence(change, comparison), summary)


@retried_task("report {run_id}", 3600, [2, 10])
def report(
    settings: RunConfig,
    run_id: str,
    champion: str,
    comparison: Comparison,
    change: ChampionChange,
    versions: Md5s,
    seconds: dict[str, float],
) -> Summary:
    """Return the summary; leaves the page, the picture and the artifacts."""
    folder = REPOSITORY / run_folder(settings, run_id)
    rows = read_metrics(folder)
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
        git_commit=commit_of(git_state(REPOSITORY)),
        seconds=seconds,
    )
    (folder / "report").mkdir(parents=True, exist_ok=True)
    picture = folder / "report" / "retraining.png"
    draw_picture(rows, comparison, picture)
    for note in write_report(folder, folder / "report" / "report.html", summary):
        show(f"  report: {note}")
    encoded = base64.b64encode(picture.read_bytes()).decode()
    create_image_artifact(f"data:image/png;base64,{encoded}", key="retraining", description=f"Retraining {run_id}")
    create_markdown_artifact(f"```\n{describe(summary)}\n```", key="summary", description=f"Retraining {run_id}")
    return summary


def _completed(sentence: str, summary: Summary) -> Summary:
    """Return the summary as Prefect's state with a sentence for its page; who calls the flow gets the summary."""
    get_run_logger().info("%s", sentence)
    state: Any = Completed(message=sentence, data=summary)
    return state


def _tell_of_nothing_new(tracker: RunTracker, run_id: str, before: Summary) -> str:
    tracker.set_tags({"sgpo.decision": "nothing new", "sgpo.repeats": before.run_id})
    what = (
        f"{run_id}: nothing new since {before.run_id}, which began with the same champion, data and settings "
        f"({before.decision.describe()}). To train all the same, give a run id."
    )
    show(f"  {what}")
    create_markdown_artifact(what, key="nothing-new", description=f"Retraining {run_id}")
    return what


def _log_summary(tracker: RunTracker, settings: RunConfig, run_id: str, summary: Summary) -> None:
    """Log the outcome on the retraining's own MLflow run; `tracker.run_dir` keeps a copy of what is logged."""
    folder = REPOSITORY / run_folder(settings, run_id)
    tracker.log(settings.training.steps, evaluation_metrics(summary.comparison))
    log_data(tracker, summary.data_versions, "retraining")
    tracker.set_tags({"sgpo.decision": summary.decision.action, "sgpo.challenger": summary.challenger_version})
    for name in ("retraining.png", "report.html"):
        tracker.log_artifact(folder / "report" / name, "report")
    link_report(settings, folder)
    tracker.log_dict(summary.model_dump(mode="json"), "report/summary.json")
    with open_tracker(settings, folder, parent_of(folder)) as training:
        training.set_tags({"sgpo.decision": summary.decision.action})
        used = {path: md5 for path, md5 in summary.data_versions.items() if path in TRAINING_DATA}
        log_data(training, used, "training")


class PhaseClock:
    """Seconds of each phase, announced as it begins; with `progress`, a bar that grows by one of `total` phases."""

    def __init__(self, progress: Progress | None = None, total: int = 1) -> None:
        self.seconds: dict[str, float] = {}
        self._progress, self._total = progress, total

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        show(f"\n== {name}")
        if self._progress is not None:
            get_run_logger().info("== %s", name)
            if not self.seconds:
                self._progress.reach(0)
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 1)
        if self._progress is not None:
            self._progress.reach(100 * len(self.seconds) / self._total)


if __name__ == "__main__":
    if (came_of_it := retrain()) is not None:
        show(describe(came_of_it))
