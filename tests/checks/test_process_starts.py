"""A process's start is measured by starting one."""

from __future__ import annotations

import subprocess

import pytest

from sgpo.checks import processes

pytestmark = pytest.mark.slow


def test_a_start_imports_training_once_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.start_seconds.cache_clear()
    first = processes.start_seconds()
    assert first > 0
    assert processes.start_seconds() == first
    processes.start_seconds.cache_clear()
    monkeypatch.setattr(processes, "IMPORTS", "import sgpo.no_such_room")
    with pytest.raises(subprocess.CalledProcessError):
        processes.start_seconds()
    processes.start_seconds.cache_clear()
