"""What a line hangs on: the strong model's responses where its method, or one that it starts from, reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.config.study import StudyConfig
from sgpo.problems.table import write_table
from sgpo.strategies.schema import StrongResponse
from sgpo.study.cells import cells_of
from sgpo.study.digests import digest_of
from sgpo.study.jobs import job_of, made_of
from sgpo.study.results import Results

METHODS = {
    "base": {"train": False},
    "grpo": {"settings": ["training.algorithm.type=grpo"]},
    "sgpo": {},
    "sft": {"settings": ["training.algorithm.type=sft"]},
    "luffy": {"settings": ["training.algorithm.type=luffy"]},
    "after_sft": {"start": "sft"},
    "after_after_sft": {"start": "after_sft"},
    "after_grpo": {"start": "grpo"},
    "warmed": {"settings": ["warmup.epochs=1"]},
}


@pytest.fixture
def parts(tmp_path: Path, data_folder: Path, model_folder: Path) -> dict[str, dict[str, str]]:
    """What the cell of each method is made of, with responses and a split for the warm-up in the data."""
    data = tmp_path / "data"
    for name in ("splits/train.parquet", "strategies.parquet", "problems/tuning.parquet"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes((data_folder / name).read_bytes())
    (data / "splits" / "warmup.parquet").write_bytes((data_folder / "splits" / "train.parquet").read_bytes())
    row = StrongResponse(problem_id="a", text="So.", teacher="t", prompt_version="v1", attempt=1)
    write_table([row], data / "responses.parquet", StrongResponse)
    (tmp_path / "recipe.yaml").write_text("{}")
    study = StudyConfig.model_validate(
        {
            "recipe": tmp_path / "recipe.yaml", "results": tmp_path / "results.jsonl", "runs": tmp_path / "runs",
            "worlds": {"tiny": {"data": data, "models": {"qwen2": model_folder}}}, "methods": METHODS,
            "tables": {"main": {"worlds": ["tiny"], "families": ["qwen2"], "methods": list(METHODS), "seeds": [0],
                                "split": "tuning"}},
        }
    )  # fmt: skip
    results = Results(study.results)
    return {cell.method: made_of(study, cell, job_of(study, results, cell)) for cell in cells_of(study)}


def test_responses_count_where_they_are_read(parts: dict[str, dict[str, str]], tmp_path: Path) -> None:
    readers = {"sft", "luffy", "after_sft", "after_after_sft", "warmed"}
    for name in ("responses.parquet", "splits/warmup.parquet"):
        assert {method for method, made in parts.items() if name in made} == readers
        assert {parts[method][name] for method in readers} == {digest_of(tmp_path / "data" / name)}
    for made in parts.values():
        assert {"settings", "model", "splits/train.parquet", "strategies.parquet", "problems", "code"} <= made.keys()
    assert [len(parts[method]["settings"].split("+")) for method in ("sft", "after_sft", "after_after_sft")] == [
        1,
        2,
        3,
    ]
