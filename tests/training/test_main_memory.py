"""Freed tensors' pages stay for the next micro-batch, and go back to the system between phases."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sgpo.training.main_memory import keep_freed_memory, return_freed_memory

pytestmark = pytest.mark.slow
FAULTS = """
import ctypes, resource, sys, torch
from sgpo.training.main_memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
if sys.argv[1] == "kept":
    assert keep_freed_memory(torch.device("cpu"))

def microbatch():
    blocks = [libc.malloc(2_000_000) for _ in range(20)]  # 10,000 pages; tensors would leave small things between
    for block in blocks:
        ctypes.memset(block, 1, 2_000_000)
    for block in blocks:
        libc.free(block)

for _ in range(5):
    microbatch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
microbatch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
HOLES = """
import sys, torch
from pathlib import Path
from sgpo.training.main_memory import return_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

before, freed, stays = resident(), [], []
for _ in range(300):
    freed.append(torch.zeros(25_000))  # 0.1 MB each: below what glibc maps by itself
    stays.append(torch.zeros(250))
del freed
if sys.argv[1] == "returned":
    assert return_freed_memory(torch.device("cpu"))
print(resident() - before)
"""


def printed(script: str, how: str) -> float:
    """Return the number that a script prints in a process of its own."""
    command = [sys.executable, "-c", script, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap is given back")
def test_memory_between_what_stays_is_given_back() -> None:
    """30 MB are freed, and 0.3 MB stay between them."""
    assert printed(HOLES, "left") > 25
    assert printed(HOLES, "returned") < 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap is kept")
def test_a_microbatch_has_the_pages_of_the_one_before() -> None:
    assert printed(FAULTS, "left") > 2_000
    assert printed(FAULTS, "kept") < 200


def test_beside_a_gpu_nothing_is_done() -> None:
    assert return_freed_memory(torch.device("cuda")) is False
    assert keep_freed_memory(torch.device("cuda")) is False
