"""What DVC knows about the data: making stages, and the md5 of what they made."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from prefect import task

from flows.process import REPOSITORY, can_help_to_retry, run_command

Md5s = dict[str, str]


@task(
    task_run_name="dvc repro {stage}",
    retries=2,
    retry_delay_seconds=[5, 20],
    retry_condition_fn=can_help_to_retry,
    timeout_seconds=6 * 3600,
)
def reproduce(stage: str) -> Md5s:
    """`dvc repro <stage>`: does nothing for stages whose inputs have not changed; returns what `stage` made."""
    run_command([sys.executable, "-m", "dvc", "repro", "--quiet", stage])
    return data_versions(stage)


@task(task_run_name="dvc push", retries=2, retry_delay_seconds=[5, 20])
def push_data() -> None:
    """Copy the data versions to the default DVC remote."""
    run_command([sys.executable, "-m", "dvc", "push", "--quiet"])


def data_versions(*stages: str) -> Md5s:
    """md5 of every output in dvc.lock, or of the given stages' outputs."""
    lock = REPOSITORY / "dvc.lock"
    content = yaml.safe_load(Path(lock).read_text(encoding="utf-8")) if lock.is_file() else {}
    return {
        out["path"]: out["md5"]
        for name, stage in content.get("stages", {}).items()
        if not stages or name in stages
        for out in stage.get("outs", [])
        if "md5" in out
    }
