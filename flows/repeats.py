"""A retraining that would only repeat one that has ended: same champion, same data, same settings, same code."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.data_versions import Md5s
from flows.process import REPOSITORY
from flows.runs import Start, read_start
from sgpo.config import ConfigError, RunConfig, load_config
from sgpo.pipeline.report import Summary, commit_of
from sgpo.registry.lineage import git_state

TRAINING_DATA = ("data/strategies.parquet", "data/splits")
DECIDING: dict[str, Any] = {
    "seed": True, "data": True, "chat": True, "domains": True, "warmup": True, "training": True, "evaluation": True,
    "gate": True, "sharding": {"precision": True}, "tracking": {"registered_model": True},
}  # fmt: skip
"""Settings that the outcome depends on, prompts and verifiers among them."""


def same_retraining(config: RunConfig, start: Start, versions: Md5s) -> Summary | None:
    """Return the newest retraining that ended and that one which began with `start` would repeat, or None.

    A schedule and an event may both start one for the same data. What was promoted is the champion since, so that only
    a retraining that changed nothing can be repeated.
    """
    runs = REPOSITORY / config.runs
    ended = sorted(runs.glob("*/summary.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((summary for path in ended if (summary := _same(path.parent, config, start, versions))), None)


def _same(folder: Path, config: RunConfig, start: Start, versions: Md5s) -> Summary | None:
    try:
        before = read_start(config, folder.name)
        settings = load_config(folder / "config.yaml")
        summary = Summary.model_validate_json((folder / "summary.json").read_text(encoding="utf-8"))
    except (ConfigError, ValidationError):  # of an older version of this code
        return None
    same = (
        before == start
        and settings.model_dump(include=DECIDING) == config.model_dump(include=DECIDING)
        and summary.git_commit == commit_of(git_state(REPOSITORY))
        and all(summary.data_versions.get(name) == versions.get(name) for name in TRAINING_DATA)
    )
    return summary if same else None
