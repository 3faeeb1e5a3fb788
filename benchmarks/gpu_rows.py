"""The rows of benchmarks/gpu.py: times and memory of a card, printed and written as soon as they are there."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import wait, write_figures
from shapes import SHAPES, Shape

NAMES = {"qwen3-0.6b": "0.6b", "qwen2.5-1.5b": "1.5b"}


class Bench:
    """The rows of a run: printed, and written after each."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.device, self.tiny = torch.device(arguments.device), arguments.shape == "tiny"
        self.eager, self.profile = arguments.eager, arguments.profile
        self.json, self.table = arguments.json, arguments.table
        self.rows: list[dict[str, Any]] = []
        card = torch.cuda.get_device_name() if self.device.type == "cuda" else platform.processor() or "CPU"
        self.about = {"card": card, "torch": torch.__version__, "python": platform.python_version()}
        self.rate = 1.0

    def add(self, what: str, **figures: Any) -> None:
        """Keep a row, and write all that there are."""
        self.rows.append({"what": what, **figures})
        print(json.dumps(self.rows[-1]), flush=True)
        write_figures(self.json, {**self.about, "rows": self.rows}, self.rate)
        if self.table:
            shown = [f"{self.about['card']}, torch {self.about['torch']}. `python benchmarks/gpu.py`", ""]
            shown += ["| what | figures |", "|---|---|"]
            for row in self.rows:
                figures = ", ".join(
                    f"{name.replace('_', ' ')} {value}" for name, value in row.items() if name != "what"
                )
                shown.append(f"| {row['what']} | {figures} |")
            self.table.write_text("\n".join(shown) + "\n")

    def seconds(self, work: Callable[[], object], rounds: int = 3) -> float:
        """Return the best time of some rounds after one that does not count."""
        times = []
        for _ in range(rounds + 1):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return min(times[1:])

    def wait(self) -> None:
        """Wait for the card."""
        wait(self.device)

    def shape(self, name: str) -> Shape:
        """Return the model's shape, or a tiny one."""
        return SHAPES["tiny"] if self.tiny else SHAPES[NAMES[name]]

    def peak_gib(self, reset: bool = False) -> float:
        """Return the most memory that was allocated, GiB."""
        if self.device.type != "cuda":
            return 0.0
        if reset:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
