"""The link from a retraining's page in Prefect to its report in MLflow."""

from pathlib import Path

from mlflow.exceptions import MlflowException
from prefect.artifacts import create_link_artifact

from sgpo.config import RunConfig
from sgpo.tracking.client import connect
from sgpo.tracking.tracker import parent_of


def link_report(settings: RunConfig, folder: Path) -> None:
    """Publish the artifact `report`: the page in MLflow where a server has it, else the file."""
    link = _in_mlflow(settings, folder) or (folder / "report" / "report.html").absolute().as_uri()
    create_link_artifact(link, link_text="Report of the run", key="report", description=f"Retraining {folder.name}")


def _in_mlflow(settings: RunConfig, folder: Path) -> str | None:
    server, id_file = settings.tracking.mlflow_uri, parent_of(folder) / "mlflow_run_id"
    if not server.startswith("http") or not id_file.is_file():
        return None
    run_id = id_file.read_text(encoding="utf-8").strip()
    try:
        experiment = connect(settings.tracking).get_run(run_id).info.experiment_id
    except MlflowException:  # a server that is down: delivered later, and the file is here
        return None
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}/artifacts/report/report.html"
