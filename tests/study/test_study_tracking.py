"""What is in MLflow before a study's first cell begins: two that make a database at once lose their parent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sgpo.config import TrackingConfig
from sgpo.config.study import StudyConfig
from sgpo.study.cells import cells_of
from sgpo.study.processes import CellProcesses
from sgpo.study.results import Results, StudyError
from sgpo.study.runs import StudyRunner
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow


def test_the_study_s_run_is_there_before_its_first_cell_begins(
    tmp_path: Path, tracking: TrackingConfig, data_folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"tracking": tracking.model_dump(mode="json")}))
    study = StudyConfig.model_validate(
        {
            "recipe": tmp_path / "recipe.yaml", "results": tmp_path / "results.jsonl", "runs": tmp_path / "runs",
            "worlds": {"tiny": {"data": data_folder, "models": {"qwen2": model_folder}}}, "methods": {"sgpo": {}},
            "tables": {"main": {"worlds": ["tiny"], "families": ["qwen2"], "methods": ["sgpo"], "seeds": [0, 1],
                                "split": "tuning"}},
        }
    )  # fmt: skip
    ids: list[str] = []

    def begin(self: CellProcesses, command: list[str], environment: dict[str, str], log: Path) -> int:
        ids.append((study.runs / "study" / "mlflow_run_id").read_text())
        log.write_text("it ends here")
        return 1

    monkeypatch.setattr(CellProcesses, "run", begin)
    with pytest.raises(StudyError, match="it ends here"):
        StudyRunner(study, Results(study.results)).run(cells_of(study))
    (parent,) = set(ids)
    assert connect(tracking).get_run(parent).info.run_name == "study results"
