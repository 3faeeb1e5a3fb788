"""A short training run: RUN_FOLDER MODEL DATA OVERRIDES..., also under torchrun. Writes the metrics of its steps."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from sgpo.config import load_config
from sgpo.training.run import train
from sgpo.training.world import is_main_process


class Metrics:
    """Rows kept as JSON."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, []

    def resume_at(self, step: int) -> None:
        """Nothing is known yet."""

    def log(self, step: int, metrics) -> None:
        """Keep the row."""
        self.rows.append({"step": step, **metrics})
        self.path.write_text(json.dumps(self.rows), encoding="utf-8")


if __name__ == "__main__":
    run, model, data = map(Path, sys.argv[1:4])
    run.mkdir(parents=True, exist_ok=True)
    train(load_config(None, [f"data={data}", *sys.argv[4:]]), model, run, nullcontext(Metrics(run / "metrics.json")))
    print("trained" if is_main_process() else "")
