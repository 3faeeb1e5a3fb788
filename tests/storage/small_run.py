"""A run of six small steps, as `sgpo train` does it, on machines that are folders."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from sgpo.config import RunConfig, StorageConfig, load_config
from sgpo.jsonl import JsonlFile
from sgpo.training.checkpoints.stored_run import open_stored_run
from sgpo.training.run import train

SMALL = [
    "training.steps=6", "training.problems_per_step=2",
    "training.algorithm.autonomous_rollouts=3", "training.algorithm.guided_rollouts=2",
    "training.checkpoint_every=1", "training.learning_rate=0.01", "training.sampling.max_new_tokens=6",
    "training.algorithm.entropy_coefficient=0.1",
]  # fmt: skip


class Killed(Exception):
    pass


class Metrics:
    """The rows of a run, in the file that the tracker writes; `at_step` may disturb the run."""

    def __init__(self, folder: Path, at_step=lambda step: None) -> None:
        self.file, self.at_step = JsonlFile(folder / "metrics.jsonl"), at_step

    def resume_at(self, step: int) -> None:
        self.file.keep(lambda row: row["step"] < step)

    def log(self, step: int, metrics) -> None:
        self.file.append({"step": step, "reward": metrics["reward/autonomous"], "norm": metrics["optim/grad_norm"]})
        self.at_step(step)


def of_run(settings: StorageConfig, data: Path) -> RunConfig:
    config = load_config(None, [*SMALL, f"data={data}"])
    return config.model_copy(update={"storage": settings.model_copy(update={"patience_s": 30.0})})


def run(
    config: RunConfig, machine: Path, model: Path, at_step=lambda step: None, inside=lambda stored: None,
    restart: bool = False,
) -> Path:  # fmt: skip
    """What `sgpo train` does, in a folder `weekly` of this machine."""
    folder = machine / "weekly"
    folder.mkdir(parents=True, exist_ok=True)
    with open_stored_run(config, folder) as stored:
        inside(stored)
        train(config, model, folder, nullcontext(Metrics(folder, at_step)), stored, restart)
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def changed(config: RunConfig, **storage) -> RunConfig:
    return config.model_copy(update={"storage": config.storage.model_copy(update=storage)})
