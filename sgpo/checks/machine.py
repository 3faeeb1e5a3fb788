"""This machine: memory for the recipe on its device, and disk for checkpoints and models."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from sgpo.checks.finding import Finding
from sgpo.config import RunConfig
from sgpo.planning import PlanError, make_plan, shape_of
from sgpo.planning.devices import GIB, Device
from sgpo.planning.memory import trained_parameters
from sgpo.planning.shapes import Shape
from sgpo.planning.workload import Assumptions

GROUP = "machine"
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
TIGHT = 1.5
"""Times the need below which free disk is warned of."""


def check_machine(config: RunConfig, model_config: object, parameters: int, assumed: Assumptions) -> list[Finding]:
    """Return whether the recipe fits this machine, by the counts of `sgpo plan`.

    `model_config` is transformers' configuration, `parameters` the model's own count.
    """
    try:
        shape = shape_of(model_config)
    except PlanError as error:
        return [Finding(GROUP, "memory", "skipped", f"not counted: {error}"), _disk(config, parameters, None)]
    return [_memory(config, shape, assumed), _disk(config, parameters, shape)]


def this_device(rate: float = 1e11) -> Device:
    """Return the device that this process computes on; `rate` is a CPU's float32 products a second."""
    if torch.cuda.is_available():
        memory = float(torch.cuda.get_device_properties(0).total_memory)
        return Device(torch.cuda.get_device_name(0), 989e12, 67e12, 3.35e12, memory, 450e9, 400e9, "rates of an H100")
    return Device("cpu", rate, rate, 0.11 * rate, main_memory(), 0.11 * rate, 12.5e9, "measured", measured=True)


def main_memory() -> float:
    """Return the bytes of main memory that this process may use: the machine's, or its control group's limit."""
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(whole, float(CGROUP_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such limit, or "max"
        return whole


def _memory(config: RunConfig, shape: Shape, assumed: Assumptions) -> Finding:
    device = this_device()
    gpus = config.processes if not device.measured else 1
    try:
        plan = make_plan(config.model_copy(update={"processes": gpus}), shape, device, gpus, assumed)
    except PlanError as error:
        text, _, cure = str(error).partition(" (expected ")
        return Finding(GROUP, "memory", "wrong", text, cure.removesuffix(")"))
    peak = plan.memory.peak * (config.processes if device.measured else 1)
    found = f"{peak / GIB:.1f} GiB at the peak by `sgpo plan`'s counts, of {device.memory / GIB:.1f} on {device.name}"
    if peak > device.memory:
        return Finding(GROUP, "memory", "wrong", found, "fewer processes, or a smaller training.tokens_per_microbatch")
    return Finding(GROUP, "memory", "ok", found)


def bytes_on_disk(config: RunConfig, parameters: int, shape: Shape | None) -> float:
    """Return what a run leaves and needs for a moment: checkpoints with one aside and the best, model, registry's copy.

    A checkpoint has float32 weights and two moments of what is trained.
    """
    trained = parameters if shape is None else min(parameters, trained_parameters(shape, config))
    kept = config.training.keep_checkpoints + 1 + (config.training.validation.every is not None)
    copies = 2.0 * parameters  # the exported model and its copy in the registry, which is on this disk with SQLite
    return 4.0 * ((parameters + 2.0 * trained) * kept + copies)


def _disk(config: RunConfig, parameters: int, shape: Shape | None) -> Finding:
    needed, place = bytes_on_disk(config, parameters, shape), config.runs.absolute()
    while not place.is_dir():
        place = place.parent
    free = float(shutil.disk_usage(place).free)
    found = f"a run takes {needed / GIB:.2f} GiB in {config.runs}, {free / GIB:.1f} are free"
    cure = "room, a smaller training.keep_checkpoints, or `runs` on another disk"
    if free < needed:
        return Finding(GROUP, "disk", "wrong", found, cure)
    return Finding(
        GROUP, "disk", "warning" if free < TIGHT * needed else "ok", found, cure if free < TIGHT * needed else ""
    )
