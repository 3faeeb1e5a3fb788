"""How main memory is given back to the system: training on a CPU holds what it needs, and not what it once needed."""

import ctypes
import sys

LARGE_BYTES = 4 * 2**20
TRIM_BYTES = 256 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's <malloc.h>."""


def give_back_large_tensors() -> bool:
    """Let every tensor above LARGE_BYTES have memory of its own, which goes back when it is freed; True if it holds.

    glibc begins so, and raises its bound, up to 32 MiB, with every large block that is freed. The keys and values of a
    sampling, which are of that size, then lie in the heap among what stays, and leave holes: a run of 135M parameters
    grew from 4 to 8 GiB in 25 steps. Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    # A fixed bound fixes the other one too: without a larger one the heap's end would be given back all the time.
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
