"""What devices can do, from their makers' data sheets: a ceiling. What is reached of it is in `efficiency`."""

import difflib
import math
from dataclasses import dataclass

from sgpo.planning.shapes import PlanError

DEVICES_PER_NODE = 8
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """Rates of one device: dense operations a second, bytes a second, bytes. `measured`: rates are reached ones.

    `compiled`: the layers are compiled for it, so that element-wise work moves less memory.
    """

    name: str
    bfloat16: float
    float32: float
    bandwidth: float
    memory: float
    link: float
    network: float
    source: str
    measured: bool = False
    compiled: bool = False

    def flops(self, precision: str) -> float:
        """Return dense operations a second at a precision."""
        return self.bfloat16 if precision == "bfloat16" else self.float32


_DEVICES = (
    Device("h100", 989e12, 67e12, 3.35e12, 79 * GIB, 450e9, 400e9, "NVIDIA H100 data sheet, SXM5; 8 x 400 Gb/s a node"),
    Device("h200", 989e12, 67e12, 4.8e12, 140 * GIB, 450e9, 400e9, "NVIDIA H200 data sheet, SXM; 8 x 400 Gb/s a node"),
    Device("h20", 148e12, 44e12, 4.0e12, 95 * GIB, 450e9, 200e9, "NVIDIA H20 data sheet; network assumed 8 x 200 Gb/s"),
    Device(
        "a100", 312e12, 19.5e12, 2.039e12, 79 * GIB, 300e9, 200e9, "NVIDIA A100 data sheet, SXM 80 GB; 8 x 200 Gb/s"
    ),
    Device("l4", 121e12, 30.3e12, 300e9, 22 * GIB, 32e9, 12.5e9, "NVIDIA L4 data sheet; PCIe 4 x 16, 100 Gb/s a node"),
)
DEVICES: dict[str, Device] = {device.name: device for device in _DEVICES}
KINDS = (*DEVICES, "cpu")


CPU_BYTES_PER_FLOP = 0.11
"""Bytes that element-wise work moves while products do one operation, fitted (docs/measured/step.md): most of what a
layer keeps stays in the cache, so that a large copy, a quarter of that rate, says little."""
CPU_MEMORY_GB = 16.0


def find_device(kind: str, gflops: float | None = None, memory_gb: float | None = None) -> Device:
    """Return the device of a kind; `cpu` takes the float32 product rate that was measured on it, and its memory.

    Raises PlanError for an unknown kind with the nearest known one, for `cpu` without a rate, and for a rate elsewhere.
    """
    name = kind.lower()
    if name not in KINDS:
        nearest = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.4)
        hint = f"; '{nearest[0]}' is nearest" if nearest else ""
        raise PlanError(f"kind '{kind}' is unknown (expected one of {', '.join(KINDS)}{hint})")
    if name != "cpu":
        if (gflops, memory_gb) != (None, None):
            raise PlanError(f"--gflops or --memory-gb is given but kind is '{name}' (expected kind cpu, or neither)")
        return DEVICES[name]
    if gflops is None or not 0.0 < gflops < math.inf:
        raise PlanError("kind cpu has no rate (expected --gflops: its measured float32 product rate, more than 0)")
    if memory_gb is not None and not 0.0 < memory_gb < math.inf:
        raise PlanError(f"--memory-gb is {memory_gb} (expected the memory of the cpu in GB, more than 0)")
    rate = 1e9 * gflops
    bandwidth, memory = CPU_BYTES_PER_FLOP * rate, 1e9 * (memory_gb or CPU_MEMORY_GB)
    return Device("cpu", rate, rate, bandwidth, memory, bandwidth, 12.5e9, "measured", measured=True)
