"""One MLflow run that is brought up to the files of a run directory, as often as needed and without doubles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sgpo.config import TrackingConfig
from sgpo.files import publish_file
from sgpo.jsonl import number
from sgpo.tracking.client import connect, experiment_id

if TYPE_CHECKING:
    from mlflow.entities import Metric

RUN_ID_FILE = "mlflow_run_id"
NOT_METRICS = ("step", "timestamp_ms")
# MLflow's limits of one request and one value (mlflow.utils.validation).
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_PARAM_LENGTH = 6000
_DIGEST_LENGTH = 36


class MlflowMirror:
    """The MLflow run of a run directory; every call raises what MLflow raises, and may be repeated after a failure.

    The run is the one in the directory's `mlflow_run_id`, else the one tagged with the directory's uid (a process was
    killed before it could write the file), else a new one. Values that MLflow already has for a metric and step are not
    sent again: MLflow cannot take a value back, and a step redone after a resume has the values it had before.
    """

    def __init__(
        self, run_dir: Path, tracking: TrackingConfig, start: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self._run_dir = run_dir
        self._say = say
        self._client = connect(tracking)
        self._steps_of: dict[str, set[int]] = {}
        self.run_id, self._is_new = self._open(tracking, start)

    def _open(self, tracking: TrackingConfig, start: dict[str, Any]) -> tuple[str, bool]:
        parent_file = Path(start["parent"]) / RUN_ID_FILE if start["parent"] else None
        parent = {"mlflow.parentRunId": parent_file.read_text()} if parent_file and parent_file.exists() else {}
        experiment = experiment_id(self._client, tracking)
        run_id = self._existing(experiment, start["uid"])
        if run_id is None:
            tags = {"sgpo.run_id": start["name"], "sgpo.run_uid": start["uid"], **parent}
            begun = start.get("timestamp_ms")  # when it was made, and not when MLflow heard of it
            run = self._client.create_run(experiment, begun, run_name=start["name"], tags=tags)
        else:
            run = self._client.get_run(run_id)
            for key, value in parent.items():
                if key not in run.data.tags:  # the parent had no MLflow run yet when this one was made
                    self._client.set_tag(run_id, key, value)
        with publish_file(self._run_dir / RUN_ID_FILE) as aside:
            aside.write_text(run.info.run_id)
        return run.info.run_id, run_id is None

    def _existing(self, experiment: str, uid: str) -> str | None:
        from mlflow.exceptions import MlflowException

        id_file = self._run_dir / RUN_ID_FILE
        if id_file.exists():
            run_id = id_file.read_text()
            try:
                if self._client.get_run(run_id).info.lifecycle_stage == "active":
                    return run_id
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            self._say(f"its MLflow run {run_id} is deleted or of another server; all is logged to a new one")
        found = self._client.search_runs([experiment], f"tags.`sgpo.run_uid` = '{uid}'", max_results=1)
        return found[0].info.run_id if found else None

    def log_rows(self, rows: Sequence[dict[str, Any]]) -> int:
        """Log rows of metrics.jsonl in as few requests as MLflow takes; returns how many values were new to it."""
        metrics = [metric for row in rows for metric in self._metrics(row) if not self._has(metric)]
        for begin in range(0, len(metrics), _METRICS_PER_BATCH):
            batch = metrics[begin : begin + _METRICS_PER_BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
            for metric in batch:
                self._steps_of[metric.key].add(metric.step)
        return len(metrics)

    def apply(self, event: dict[str, Any]) -> None:
        """Carry out one row of tracking.jsonl. Raises FileNotFoundError when the file of an artifact is gone."""
        match event["kind"]:
            case "run":
                pass  # what `_open` did
            case "params":
                self._log_params(event["values"])
            case "tags":
                for key, value in event["values"].items():
                    self._client.set_tag(self.run_id, key, value)
            case "dataset":
                self._log_dataset(event)
            case "artifact":
                self._client.log_artifact(self.run_id, str(self._run_dir / event["path"]), event["folder"] or None)
            case "status" if event["status"] == "RUNNING":
                self._client.update_run(self.run_id, status="RUNNING")
            case "status":
                self._client.set_terminated(self.run_id, event["status"], event["timestamp_ms"])
            case other:
                raise ValueError(f"{self._run_dir}: unknown kind of event '{other}'")

    def _metrics(self, row: dict[str, Any]) -> list[Metric]:
        from mlflow.entities import Metric

        metrics = []
        for name, value in row.items():
            if name in NOT_METRICS:
                continue
            bins = {f"{name}/{bin:02d}": item for bin, item in enumerate(value)} if isinstance(value, list) else {}
            for key, item in (bins or {name: value}).items():
                metrics.append(Metric(key, number(item), row["timestamp_ms"], row["step"]))
        return metrics

    def _has(self, metric: Metric) -> bool:
        if metric.key not in self._steps_of:
            history = [] if self._is_new else self._client.get_metric_history(self.run_id, metric.key)
            self._steps_of[metric.key] = {logged.step for logged in history}
        return metric.step in self._steps_of[metric.key]

    def _log_params(self, values: dict[str, str]) -> None:
        """MLflow's params cannot be changed: those it has stay, and a different value is said."""
        from mlflow.entities import Param

        logged = self._client.get_run(self.run_id).data.params
        changed = [key for key, value in values.items() if logged.get(key, value) != value[:_PARAM_LENGTH]]
        if changed:
            self._say(f"MLflow keeps the first values of the changed parameters {', '.join(changed)}")
        new = [Param(key, value) for key, value in values.items() if key not in logged]
        for begin in range(0, len(new), _PARAMS_PER_BATCH):
            self._client.log_batch(self.run_id, params=new[begin : begin + _PARAMS_PER_BATCH])

    def _log_dataset(self, event: dict[str, Any]) -> None:
        """Make the record of mlflow.data's MetaDataset, without its import of every data library, for any source."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        scheme = urlsplit(event["source"]).scheme or "local"
        location = "url" if scheme in ("http", "https") else "uri"
        dataset = Dataset(
            name=event["name"],
            digest=event["digest"][:_DIGEST_LENGTH],
            source_type="http" if location == "url" else scheme,
            source=json.dumps({location: event["source"]}),
        )
        tags = {"mlflow.data.context": event["context"], "sgpo.path": event["path"], "sgpo.digest": event["digest"]}
        inputs = DatasetInput(dataset=dataset, tags=[InputTag(key, value) for key, value in tags.items()])
        self._client.log_inputs(self.run_id, datasets=[inputs])
