"""Clocks to measure with; without torch, for processes whose memory and start are measured too."""

import time
from collections.abc import Callable

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` counts the processor's seconds of this process: other load hardly changes it, waiting is not in it."""
