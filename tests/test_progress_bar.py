"""Whoever reads a log sees that a long job goes on."""

from __future__ import annotations

import subprocess
import sys

SLOW = """
import time
from sgpo import progress
progress.LOG_S = 0.2
with progress.progress_bar(5, "measuring", 1, "problem") as bar:
    for _ in range(4):
        time.sleep(0.25)
        bar.update()
"""


def test_a_log_has_a_line_now_and_then_and_the_last_state() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW], stderr=subprocess.PIPE, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line]  # a carriage return ends a line of a log
    assert len(lines) >= 3
    assert lines[0].startswith("measuring:  20%")
    assert "5/5" in lines[-1]
