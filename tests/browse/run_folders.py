"""Run directories with weights in them, for lists and deletions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from sgpo.config import TrackingConfig, dump_config, load_config
from sgpo.files import write_json
from tests.report.made_run import metric_rows, summary_of


def add_run(
    runs: Path,
    name: str,
    age: int,
    model: Path | None = None,
    tracking: TrackingConfig | None = None,
    *,
    retraining: bool = False,
    ended: bool = True,
) -> Path:
    """Write a run of 4 of 4 steps with two checkpoints of 1,000 bytes; `age` in hours decides about the order."""
    folder = runs / name
    folder.mkdir(parents=True)
    config = load_config(None, ["training.steps=4", "training.algorithm.type=grpo"])
    if tracking is not None:
        config = config.model_copy(update={"tracking": tracking})
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    rows = [{**row, "reward/autonomous": 0.25} for row in metric_rows(4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_json(
        folder / "made_of.json", {"settings": "x", "splits/train.parquet": "a" * 64, "strategies.parquet": "b" * 64}
    )
    for step in ("step-000002", "step-000004"):
        (folder / "checkpoints" / step).mkdir(parents=True)
        (folder / "checkpoints" / step / "shard").write_bytes(b"0" * 1000)
    if retraining:
        write_json(folder / "start.json", {})
        if ended:
            write_json(folder / "summary.json", summary_of(name, rows).model_dump(mode="json"))
    if ended and model is not None:
        shutil.copytree(model, folder / "model")
    for file in folder.iterdir():
        os.utime(file, (1.8e9 - 3600 * age, 1.8e9 - 3600 * age))
    return folder
