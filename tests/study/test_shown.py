"""What a study found on a run's own problems: lines of these problems alone, of the largest k, a line per method."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_study_cells import load, result

from sgpo.study.cells import cells_of
from sgpo.study.digests import digest_of
from sgpo.study.jobs import job_of, made_of
from sgpo.study.results import Results, StudyError
from sgpo.study.shown import describe_shown


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    file = tmp_path / "problems.jsonl"
    file.write_bytes(b"some problems")
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_methods_side_by_side_on_these_problems_and_from_this_model_alone(tmp_path, problems, model):
    results = Results(tmp_path / "results.jsonl")
    these = {"problems": digest_of(problems), "model": digest_of(model)}
    others = ({**these, "problems": "0" * 16}, {**these, "model": "0" * 16})
    for seed, avg in enumerate((0.5, 0.6, 0.7)):
        results.add(result(table="shown_best", method="grpo", seed=seed, avg=avg, k=6, tokens=2_000_000, made_of=these))
    results.add(result(table="shown_best", method="sgpo", avg=0.8, k=6, tokens=1_500_000, made_of=these))
    results.add(result(table="shown_best", method="sgpo", avg=0.1, k=4, made_of=these))
    for seed, other in enumerate(others, 1):
        results.add(result(table="shown_best", method="sgpo", seed=seed, avg=0.2, k=6, made_of=other))
    results.add(result(table="main", method="luffy", avg=0.3, k=6, made_of=these))
    lines = [line.split() for line in describe_shown(results.path, problems, model)]
    # Student's interval of 0.5, 0.6, 0.7: 0.6 -+ 4.3027 * 0.1 / sqrt(3)
    assert lines[0] == ["grpo", *["60.0", "%", "(35.2", "to", "84.8),", "3", "seeds,", "2.0", "M", "tokens", "sampled"]]
    assert lines[1:] == [["sgpo", *["80.0", "%,", "1", "seed,", "1.5", "M", "tokens", "sampled"]]]


def test_nothing_is_said_of_other_problems(tmp_path, problems, model):
    results = Results(tmp_path / "results.jsonl")
    assert describe_shown(results.path, problems, model) == []
    results.add(result(table="shown_best", made_of={"problems": "0" * 16}))
    assert describe_shown(results.path, problems, model) == []
    assert describe_shown(results.path, tmp_path / "none.parquet", model) == []
    assert describe_shown(results.path, problems, tmp_path / "none") == []


def test_a_cell_whose_world_is_not_made_yet_is_one_line(tmp_path):
    study = load(tmp_path, lambda tree: tree.update(recipe=str(tmp_path / "recipe.yaml")))
    (tmp_path / "recipe.yaml").write_text("seed: 0\n")
    cell = cells_of(study, ("tuning",))[0]
    with pytest.raises(StudyError, match=r"base/q: there is none \(expected what world 'near' is made of"):
        made_of(study, cell, job_of(study, Results(study.results), cell))
