"""The tiny testbed, for the tests of this room, and a study's missing cells in processes that begin imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest
from tiny_testbed import data_folder, family, model_folder, tokenizer
from warm_python import WarmProcess

from sgpo.study import runs
from sgpo.study.cells import cells_of, load_study
from sgpo.study.results import Results

__all__ = ["data_folder", "family", "model_folder", "tokenizer"]


class _Warm:
    """In the place of `subprocess`: the same commands, as forks of the process that the tests share."""

    @staticmethod
    def run(
        command: list[str], *, env: Mapping[str, str], stdout: IO[str], stderr: IO[str], check: bool
    ) -> subprocess.CompletedProcess[str]:
        assert (command[0], stdout, check) == (sys.executable, stderr, False)
        process = WarmProcess(command[1:], Path.cwd(), env)
        output, _ = process.communicate(timeout=300)
        stdout.write(output)
        return subprocess.CompletedProcess(command, process.wait())


@pytest.fixture
def run_missing(monkeypatch: pytest.MonkeyPatch):
    """Run the cells of a study file that are missing; returns their names."""
    monkeypatch.setattr(runs, "subprocess", _Warm)

    def run(study_file: Path) -> list[str]:
        study = load_study(study_file)
        runner = runs.StudyRunner(study, Results(study.results))
        missing = runner.missing(cells_of(study))
        runner.run(missing)
        return [cell.name for cell in missing]

    return run
