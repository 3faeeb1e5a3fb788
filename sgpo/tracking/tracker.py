"""What is logged, under which names: into the run directory always, and into MLflow as soon as it answers.

The files are the truth and MLflow is brought up to them: `metrics.jsonl` holds one row per step, `tracking.jsonl` all
that is not a metric (parameters, tags, data sets, artifacts, status). With no MLflow the run completes all the same,
says so once, and `replay` delivers later.
"""

import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sgpo.config import RunConfig, TrackingConfig, config_digest
from sgpo.errors import UserError
from sgpo.files import write_json
from sgpo.jsonl import JsonlFile
from sgpo.names import check_metric, metric_part
from sgpo.tracking.client import reason, resolved, short_patience
from sgpo.tracking.delivery import Delivery
from sgpo.tracking.mirror import NOT_METRICS, RUN_ID_FILE, MlflowMirror

METRICS = (
    "reward/autonomous",
    "reward/guided",
    "reward/equal_groups_fraction",
    "validation/avg_at_k",
    "validation/pass_at_k",
    "alarm/guide_collapsed",
    "distill/alpha_mean",
    "distill/alpha_hist",
    "distill/kl_mean",
    "distill/tokens_masked_fraction",
    "distill/kl_mass_masked_fraction",
    "distill/targets_fraction",
    "policy/entropy",
    "policy/ratio_max",
    "policy/clip_fraction",
    "policy/sampler_mismatch_kl",
    "policy/importance_capped_fraction",
    "response/length_mean",
    "response/truncated_fraction",
    "optim/lr",
    "optim/grad_norm",
    "time/rollout",
    "time/verify",
    "time/forward_backward",
    "time/weight_sync",
    "throughput/tokens_per_second",
    "throughput/padding_fraction",
    "eval/average",
    "eval/average_lenient",
    "eval/average_over_problems",
)
"""Metrics of a run. Times are in seconds. `distill/alpha_hist` is a list of counts, in MLflow one metric per bin."""

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_TAG_LENGTH = 5000
"""Characters of a tag's value that every MLflow server takes."""


class TrackingError(UserError):
    """A replay that could not be completed; the message names the run directory and the reason."""


def evaluation_metric(benchmark: str, k: int) -> str:
    """Return the name of a benchmark's or tier's avg@k. MLflow allows no `@`."""
    return f"eval/{metric_part(benchmark)}/avg_at_{k}"


def lenient_metric(benchmark: str, k: int) -> str:
    """Return the name of avg@k by lenient accuracy."""
    return f"eval/{metric_part(benchmark)}/lenient_at_{k}"


class RunTracker:
    """Logs one run; as a context manager it ends the run as FINISHED, FAILED, or KILLED when it was asked to stop.

    Only one process may hold it. A run directory that has been logged to before goes on where it was, in the same
    MLflow run. `parent` is the run directory of the parent run; `name` is the run's in MLflow, else its directory's.
    Trouble with MLflow never stops the caller: it is said once on stderr, what could not be delivered waits, and
    delivery is tried again after 1, 2, 4 ... 30 minutes and when the run ends.
    """

    def __init__(
        self,
        run_dir: Path,
        tracking: TrackingConfig,
        *,
        parent: Path | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir = run_dir
        self._tracking = tracking
        self._metrics = JsonlFile(run_dir / "metrics.jsonl")
        self._events = JsonlFile(run_dir / "tracking.jsonl")
        if not self._events.rows:
            self._events.append(_start(run_dir, tracking, parent, name or run_dir.absolute().name))
        self._delivery = Delivery(run_dir, tracking, self._events.rows, self._metrics.rows)
        self._record({"kind": "status", "status": "RUNNING"})
        if tags:
            self.set_tags(tags)

    @property
    def mlflow_run_id(self) -> str | None:
        """The id of the MLflow run, or None as long as MLflow has not answered."""
        id_file = self.run_dir / RUN_ID_FILE
        return id_file.read_text() if id_file.exists() else None

    def resume_at(self, step: int) -> None:
        """Forget the rows of `step` and later, which will be made again: `metrics.jsonl` is rewritten without them.

        What MLflow has of them stays there, and the values made again are not added to it.
        """
        self._metrics.keep(lambda row: row["step"] < step)
        self._delivery.forget(step)

    def log(self, step: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
        """One row of metrics; MLflow gets it in one request. A sequence is a histogram's counts, bin by bin."""
        row: dict[str, Any] = {"step": step, "timestamp_ms": int(time.time() * 1000)}
        for name, value in metrics.items():
            if name in NOT_METRICS:
                raise ValueError(f"metric '{name}' is no name for MLflow (expected another: every row has this field)")
            row[check_metric(name)] = [float(item) for item in value] if isinstance(value, Sequence) else float(value)
        self._metrics.append(row)
        self._delivery.add(self._metrics.rows[-1])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings, nested ones under dotted names. MLflow keeps the first value a run gave to a name."""
        self._record({"kind": "params", "values": _flatten(params)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._record({"kind": "tags", "values": dict(tags)})

    def log_dataset(self, path: Path, name: str, digest: str, source: str, context: str) -> None:
        """Log data lineage: the file at `path` with this `digest` (md5 as in dvc.lock), from `source` (a URI or path).

        `context` is what the run used it for, such as "training". MLflow shows 36 characters of the digest; the whole
        digest is a tag of the input.
        """
        dataset = {"path": str(path), "name": name, "digest": digest, "source": source, "context": context}
        self._record({"kind": "dataset", **dataset})

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copy the file at `path` into the MLflow run's `folder`. Raises FileNotFoundError when it is not there."""
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file to log")
        absolute, home = path.absolute(), self.run_dir.absolute()
        stored = absolute.relative_to(home) if absolute.is_relative_to(home) else absolute
        self._record({"kind": "artifact", "path": str(stored), "folder": folder})

    def log_dict(self, value: Any, file: str) -> None:
        """Write `value` as JSON to `file` in the run directory (such as report/gate.json) and log it as that."""
        write_json(self.run_dir / file, value)
        self._log_own(file)

    def flush(self) -> None:
        """Wait until MLflow has all that was logged, or a try to deliver it has failed."""
        self._delivery.flush()

    def close(self, status: RunStatus = "FINISHED") -> None:
        """End the run; a last try to deliver what waits."""
        self._record({"kind": "status", "status": status})
        self._delivery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed = isinstance(error, Exception) and not _was_preempted(error)
        self.close("FINISHED" if kind is None else "FAILED" if failed else "KILLED")

    def _log_own(self, file: str) -> None:
        folder = Path(file).parent.as_posix()
        self.log_artifact(self.run_dir / file, "" if folder == "." else folder)

    def _record(self, event: dict[str, Any]) -> None:
        if event["kind"] == "status":
            event["timestamp_ms"] = int(time.time() * 1000)
        if event not in self._events.rows:
            self._events.append(event)
        self._delivery.add(event)


def open_tracker(config: RunConfig, run_dir: Path, parent: Path | None = None, name: str | None = None) -> RunTracker:
    """Return the tracker of a run with these settings: they are its parameters, and their digest is a tag."""
    tags = {"sgpo.config_digest": config_digest(config)}
    if config.training.exclude_problems:  # a parameter keeps its first value, a tag does not
        tags["sgpo.exclude_problems"] = ", ".join(config.training.exclude_problems)[:_TAG_LENGTH]
    tracker = RunTracker(run_dir, config.tracking, parent=parent, name=name, tags=tags)
    tracker.log_params(config.model_dump(mode="json"))
    return tracker


def parent_of(run_dir: Path) -> Path:
    """Where the retraining that a run is a part of keeps its own record; the folder is there when there is one."""
    return run_dir / "retraining"


def replay(run_dir: Path, tracking: TrackingConfig | None = None) -> int:
    """Bring MLflow up to the files of a run that ended without it; returns how many metric values were new to it.

    Without `tracking` the settings that the run began with are used. May be repeated: nothing is logged twice. Raises
    TrackingError when there is nothing to replay, or MLflow does not answer or refuses something.
    """
    events, metrics = JsonlFile(run_dir / "tracking.jsonl"), JsonlFile(run_dir / "metrics.jsonl")
    if not events.rows:
        raise TrackingError(f"{run_dir}: no tracking.jsonl (expected a run directory)")
    start = events.rows[0]
    problems: list[str] = []
    try:
        with short_patience():
            mirror = MlflowMirror(
                run_dir, tracking or TrackingConfig.model_validate(start["tracking"]), start, problems.append
            )
            new = mirror.log_rows(metrics.rows)
            for event in events.rows:
                mirror.apply(event)
    except Exception as error:  # whatever a server, database or disk can raise; the reason is passed on
        raise TrackingError(f"{run_dir}: not replayed: {reason(error)}") from error
    for problem in problems:
        print(f"tracking: {run_dir}: {problem}", file=sys.stderr)
    return new


def _was_preempted(error: Exception) -> bool:
    """Whether it is training's PreemptedError, whose module imports torch and is loaded only where it is raised."""
    module = sys.modules.get("sgpo.training.recovery.interruption")
    return module is not None and isinstance(error, module.PreemptedError)


def _start(run_dir: Path, tracking: TrackingConfig, parent: Path | None, name: str) -> dict[str, Any]:
    return {
        "kind": "run",
        "name": name,
        "uid": uuid.uuid4().hex,
        "parent": str(parent.absolute()) if parent else None,
        "tracking": resolved(tracking).model_dump(mode="json"),
        "timestamp_ms": int(time.time() * 1000),
    }


def _flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
