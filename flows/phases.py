"""MLflow's view of a retraining: a parent run, and a child run for each of its phases.

The parent's files are in `runs/<id>/retraining/`; the training's child run is the run directory itself; the others have
a folder of their own there. A flow that runs by itself has no parent.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from prefect.logging import get_run_logger

from flows.data_versions import Md5s, data_versions
from flows.process import REPOSITORY
from flows.runs import run_folder
from sgpo.config import RunConfig
from sgpo.config.pipeline import load_params
from sgpo.evaluation.comparison import Comparison
from sgpo.jsonl import JsonlError
from sgpo.names import metric_part
from sgpo.pipeline.probe import lift_of_tiers
from sgpo.tracking.tracker import RunTracker, evaluation_metric, lenient_metric, open_tracker, parent_of


def open_retraining(config: RunConfig, run_id: str) -> RunTracker:
    """Return the parent run."""
    return open_tracker(config, parent_of(REPOSITORY / run_folder(config, run_id)), name=run_id)


def log_strategies(config: RunConfig, run_id: str) -> None:
    """How many strategies there are and of what quality, and why candidates were refused."""
    counts = json.loads((REPOSITORY / "data" / "strategies.json").read_text(encoding="utf-8"))
    metrics = {"strategies/kept": counts["kept"]}
    metrics |= {f"strategies/{band}_quality": counts[band] for band in ("high", "medium", "low")}
    metrics |= {f"strategies/refused/{_part(reason)}": number for reason, number in counts["refused"].items()}
    _log(config, run_id, "strategies", metrics, data_versions("strategies"))


def log_rollouts(config: RunConfig, run_id: str) -> None:
    """Log the rollout samples that training recorded, as artifacts `rollouts/` of its MLflow run; never fails a run."""
    folder = REPOSITORY / run_folder(config, run_id)
    files = sorted((folder / "rollouts").glob("*.jsonl"))
    if not files:
        return
    parent = parent_of(folder)
    try:
        with RunTracker(folder, config.tracking, parent=parent if parent.is_dir() else None) as tracker:
            for file in files:
                tracker.log_artifact(file, "rollouts")
    except (OSError, JsonlError) as error:  # a full disk, a spoilt record: the model is trained all the same
        get_run_logger().warning("%s: rollout samples are not logged: %s", folder, error)


def log_probe(config: RunConfig, run_id: str) -> None:
    """Log what the strategies are worth to the champion, tier by tier."""
    metrics = {}
    for row in lift_of_tiers(REPOSITORY / "data", load_params(REPOSITORY / "params.yaml").probe):
        for name in ("autonomous", "guided", "lift"):
            metrics[f"probe/{_part(row.name)}/{name}"] = getattr(row, name).value
    _log(config, run_id, "probe", metrics, data_versions("probe", "splits"))


def log_evaluation(config: RunConfig, run_id: str, comparison: Comparison) -> None:
    """Scores of the challenger, and its gain over the champion with the ends of its interval."""
    gain = comparison.overall.difference
    metrics = evaluation_metrics(comparison) | {"eval/gain_low": gain.low, "eval/gain_high": gain.high}
    _log(config, run_id, "evaluation", metrics, {})


def evaluation_metrics(comparison: Comparison) -> dict[str, float]:
    """avg@k by tier, as the mean of the tiers and over all problems; and the gain over all problems, as the gate's.

    Beside them those by lenient accuracy, where it is known.
    """
    scores = {
        evaluation_metric(name, comparison.k_of(name)): gain.challenger for name, gain in comparison.tiers.items()
    }
    return (
        scores
        | _lenient_metrics(comparison)
        | {
            "eval/average": comparison.mean_of_tiers.challenger,
            "eval/average_over_problems": comparison.overall.challenger,
            "eval/gain": comparison.overall.difference.value,
        }
    )


def _lenient_metrics(comparison: Comparison) -> dict[str, float]:
    mean, overall = comparison.mean_of_tiers.lenient, comparison.overall.lenient
    if mean is None or overall is None:
        return {}
    scores = {
        lenient_metric(name, comparison.k_of(name)): gain.lenient.challenger
        for name, gain in comparison.tiers.items()
        if gain.lenient is not None
    }
    return scores | {"eval/average_lenient": mean.challenger, "eval/gain_lenient": overall.difference.value}


def log_data(tracker: RunTracker, versions: Md5s, context: str) -> None:
    """Log data files that DVC knows, with its md5s."""
    for name, md5 in versions.items():
        if (REPOSITORY / name).exists():
            tracker.log_dataset(REPOSITORY / name, name, md5, "dvc", context)


def _log(config: RunConfig, run_id: str, phase: str, metrics: Mapping[str, float], versions: Md5s) -> None:
    folder = REPOSITORY / run_folder(config, run_id)
    parent: Path = parent_of(folder)
    with open_tracker(
        config, folder / phase, parent=parent if parent.is_dir() else None, name=f"{run_id} {phase}"
    ) as tracker:
        tracker.resume_at(0)
        tracker.log(0, metrics)
        log_data(tracker, versions, phase)


def _part(name: str) -> str:
    """Return a part of a metric's name without blanks, as these metrics have had from the start."""
    return metric_part(name.replace(" ", "_"))
