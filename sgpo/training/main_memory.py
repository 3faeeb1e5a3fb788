"""Main memory is kept within a phase of a step and given back between phases.

Within one, micro-batches use the same pages after one another; sampling and training do not hold each other's leavings.
"""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two settings (malloc.h)."""
LARGEST_IN_HEAP = 2**25
"""Bytes above which glibc maps a block by itself at the latest; what it comes to by itself where tensors are large."""


def keep_freed_memory(device: torch.device) -> bool:
    """Let freed tensors' pages stay with this process until `return_freed_memory`; True where that can be set.

    glibc gives the end of its heap back after every micro-batch, and the next one has each page cleared anew by the
    system: 15,000 of them in a step of the testbed's model, a twentieth of its time.
    """
    libc = _glibc(device)
    if libc is None:
        return False
    # Setting either ends glibc's own adjustment of both.
    return bool(libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and libc.mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP))


def return_freed_memory(device: torch.device) -> bool:
    """Give the pages of freed tensors back to the system; True where some were, always False beside a GPU.

    glibc keeps what is freed in the middle of its heap. Keys and values of a sampling and activations of training are
    of other sizes and leave holes for each other: a run of 135M parameters on a CPU grew from 4 to 8 GiB in 25 steps.
    Does nothing where the C library is another one.
    """
    libc = _glibc(device)
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc(device: torch.device) -> ctypes.CDLL | None:
    """Return the C library if tensors lie in its heap and it is glibc."""
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None  # musl has none
