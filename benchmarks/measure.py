"""What benchmarks measure with: the machine's own rates, rounds in turns, peak memory, and the file of figures.

A figure is comparable between machines only as a ratio of one run, so every file has the rate of float32 matrix
products that the same process measured.
"""

import argparse
import gc
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from clocks import CLOCKS

from sgpo.files import write_json

Result = TypeVar("Result")


def product_rate(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, tries: int = 20, clock: str = "wall"
) -> float:
    """Return FLOP/s of products of square matrices, the best of `tries`: 1,024 wide on a CPU, 8,192 on a GPU."""
    size = 1024 if torch.device(device).type == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    return 2.0 * size**3 / min(_seconds(lambda: left @ right, device, clock) for _ in range(tries))


def copy_rate(device: torch.device | str = "cpu", tries: int = 5) -> float:
    """Return bytes per second, read and written together, of copying 256 MiB (1 GiB on a GPU), the best of `tries`."""
    size = 2**28 if torch.device(device).type == "cpu" else 2**30
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2.0 * size / min(_seconds(lambda: target.copy_(source), device) for _ in range(tries))


def wait(device: torch.device | str) -> None:
    """Wait until the device has done what it was told; a CPU always has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    sides: Mapping[str, Callable[[], Result]], rounds: int, between: Callable[[], object] = lambda: None
) -> dict[str, list[Result]]:
    """Return what each side gave in each round: a round calls all of them, so that load beside it falls on all."""
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side())
        between()
    return results


def peak_bytes(device: torch.device | str = "cpu") -> int:
    """Return the most memory held since `reset_peak`: resident in this process, or allocated on the GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # getrusage's figure would include the parent's before exec, and cannot be reset.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def reset_peak(device: torch.device | str = "cpu") -> None:
    """Begin a new peak at what is held now; does nothing where the kernel does not let a process do so."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


@contextmanager
def no_collections() -> Iterator[None]:
    """Keep Python's garbage collector out of what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json FILE`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, with the product rate")


def write_figures(path: Path | None, figures: Mapping[str, Any], rate: float | None = None) -> None:
    """Write figures as JSON, whole or not at all, with the machine and its product rate; nothing without a path."""
    if path is None:
        return
    machine = {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "load": os.getloadavg()[0],
    }  # fmt: skip
    write_json(path, {**figures, "product_rate": product_rate() if rate is None else rate, "machine": machine})


def _seconds(work: Callable[[], object], device: torch.device | str, clock: str = "wall") -> float:
    now = CLOCKS[clock]
    wait(device)
    begun = now()
    work()
    wait(device)
    return now() - begun
