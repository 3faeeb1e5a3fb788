"""Two processes whose samplers meet while training sums: OUTPUT-FOLDER."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sgpo.training.sync import PublishedWeights
from sgpo.training.world import open_world


def main() -> None:
    engine: Any = SimpleNamespace(barrier=None)
    policy: Any = None
    with open_world(timedelta(seconds=20)) as world, ThreadPoolExecutor() as thread:
        PublishedWeights(policy, engine, world)
        # Which comes first is not the same on both: a thread goes at its own pace.
        if world.is_main:
            met = thread.submit(engine.barrier)
            time.sleep(1.0)
        total = world.sum({"tokens": 1.0 + world.rank})["tokens"]
        if not world.is_main:
            met = thread.submit(engine.barrier)
        met.result()
        total += world.sum({"tokens": 10.0})["tokens"]
        (Path(sys.argv[1]) / str(world.rank)).write_text(str(total), encoding="utf-8")


if __name__ == "__main__":
    main()
