"""The tiny testbed, for the tests of this room, and a study's missing cells in processes that begin imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_testbed import data_folder, family, model_folder, tokenizer
from warm_python import WarmProcess

from sgpo.study.cells import cells_of, load_study
from sgpo.study.processes import CellProcesses
from sgpo.study.results import Results
from sgpo.study.runs import StudyRunner

__all__ = ["data_folder", "family", "model_folder", "tokenizer"]


def _run_warm(processes: CellProcesses, command: list[str], environment: Mapping[str, str], log: Path) -> int:
    """The same command, as a fork of the process that the tests share."""
    assert command[0] == sys.executable
    process = WarmProcess(command[1:], Path.cwd(), environment)
    output, _ = process.communicate(timeout=300)
    log.write_text(output, encoding="utf-8")
    return process.wait()


@pytest.fixture
def run_missing(monkeypatch: pytest.MonkeyPatch):
    """Run the cells of a study file that are missing; returns their names."""
    monkeypatch.setattr(CellProcesses, "run", _run_warm)

    def run(study_file: Path) -> list[str]:
        study = load_study(study_file)
        runner = StudyRunner(study, Results(study.results))
        missing = runner.missing(cells_of(study))
        runner.run(missing)
        return [cell.name for cell in missing]

    return run
