"""DVC and MLflow on the same endpoint, set up as docs/operate.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from s3_server import contents
from safetensors.numpy import save_file

from sgpo.config import TrackingConfig
from sgpo.registry.models import download_version, register_model_folder
from sgpo.tracking.tracker import RunTracker, replay

pytestmark = pytest.mark.slow


def dvc(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env={**environment, "DVC_NO_ANALYTICS": "1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_dvc_pushes_to_the_endpoint_and_another_machine_pulls(settings, s3_client, folder, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    dvc(here, "init", "--no-scm", "--quiet")
    dvc(here, "remote", "add", "-d", "s3", f"s3://{settings.bucket}/dvc")
    dvc(here, "remote", "modify", "s3", "endpointurl", settings.endpoint_url)
    os.rename(folder, here / "data")
    dvc(here, "add", "data")
    dvc(here, "push")
    there.mkdir()
    dvc(there, "init", "--no-scm", "--quiet")
    for name in (".dvc/config", "data.dvc"):
        (there / name).write_bytes((here / name).read_bytes())
    dvc(there, "pull")
    assert contents(there / "data") == contents(here / "data")
    keys = [item["Key"] for item in s3_client.list_objects_v2(Bucket=settings.bucket)["Contents"]]
    assert keys
    assert all(key.startswith("dvc/") for key in keys)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in (here / ".dvc" / "config").read_text()


def write_model(folder: Path) -> Path:
    """The smallest folder that the registry takes."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    save_file({"weight": np.arange(6, dtype=np.float32)}, folder / "model.safetensors")
    return folder


def test_mlflow_keeps_artifacts_and_models_on_the_endpoint(
    settings, proxy, s3_client, tmp_path, monkeypatch, mlflow_database
):
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", proxy.url)
    monkeypatch.chdir(tmp_path)
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}",
        artifact_root=f"s3://{settings.bucket}/mlflow",
        experiment="on-s3",
        registered_model="on-s3",
    )
    (tmp_path / "report.md").write_text("a report")
    with RunTracker(tmp_path / "run", tracking) as tracker:
        tracker.log_artifact(tmp_path / "report.md", "report")
        tracker.flush()
        run_id = tracker.mlflow_run_id
    replay(tmp_path / "run", tracking)  # on a busy machine MLflow may answer later than the tracker waits
    keys = [item["Key"] for item in s3_client.list_objects_v2(Bucket=settings.bucket).get("Contents", [])]
    assert keys == [f"mlflow/{run_id}/artifacts/report/report.md"]
    body = s3_client.get_object(Bucket=settings.bucket, Key=keys[0])["Body"].read()
    assert body == b"a report"
    model = write_model(tmp_path / "model")
    version = register_model_folder(tracking, model, {}, "weekly")
    assert download_version(tracking, version, tmp_path / "back") == version
    assert contents(tmp_path / "back") == contents(model)
    stored = s3_client.list_objects_v2(Bucket=settings.bucket, Prefix="mlflow/models/")["Contents"]
    assert {item["Key"].rpartition("/")[2] for item in stored} == contents(model).keys()
