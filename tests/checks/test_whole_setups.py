"""Setups of several rooms that are sound get no `wrong`: domains, benchmarks, warm-up, a recorded strong model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sgpo.checks import check
from sgpo.checks.counts import responses_to_evaluate
from sgpo.checks.data import check_data, check_probe_size
from sgpo.checks.dry_run import of_probe
from sgpo.checks.teacher import check_teacher
from sgpo.checks.teacher_cost import estimate_teacher
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams, ProbeConfig, SplitConfig
from sgpo.config.strategies import StrategyConfig, TeacherConfig
from sgpo.problems import Problem, read_problems, write_problems
from sgpo.training.warmup import RECORD

Recipe = Callable[..., RunConfig]


def found_wrong(config: RunConfig, params: PipelineParams | None = None) -> dict[str, str]:
    return {one.what: one.found for one in check_data(config, params)[0] if one.verdict == "wrong"}


@pytest.mark.slow
def test_golds_are_judged_by_the_verifier_of_their_domain(recipe: Recipe, data: Path) -> None:
    file = data / "problems" / "train.parquet"
    rows = [Problem(question=f"Name animal {n}.", answer="a, b and c", domain="animals") for n in range(4)]
    write_problems(rows, file)
    unknown = found_wrong(recipe())
    assert unknown.keys() == {"train golds"}
    assert "animals" in unknown["train golds"]
    named = recipe("domains.animals.verifier=sgpo.problems.domains.exact:judge")
    assert found_wrong(named) == {}
    assert found_wrong(named, PipelineParams(domains=named.domains)) == {}
    assert found_wrong(named, PipelineParams()).keys() == {"domains"}


def test_a_program_verifies_against_itself(recipe: Recipe, data: Path) -> None:
    from sgpo.testbed.functions import draw_functions

    write_problems(draw_functions("train", 3, 0), data / "problems" / "train.parquet")
    found = found_wrong(recipe()).get("train golds", "sound")
    assert ("no `bwrap` here" in found) if shutil.which("bwrap") is None else found == "sound"


def test_the_share_of_the_warm_up_need_not_be_probed() -> None:
    splits = SplitConfig(warmup_fraction=1 / 3, min_lift=0.05)
    assert check_probe_size(PipelineParams(splits=splits, probe=ProbeConfig(problems=60)), 90) == []
    assert check_probe_size(PipelineParams(splits=splits, probe=ProbeConfig(problems=59)), 90) != []


def test_a_dry_run_of_the_probe_counts_what_the_warm_up_leaves(data: Path, model_folder: Path) -> None:
    sampling = {"max_new_tokens": 8}
    splits, probe = SplitConfig(warmup_fraction=0.5), ProbeConfig.model_validate({"sampling": sampling})
    assert ": 12 problems," in of_probe(PipelineParams(probe=probe), data, model_folder).lines()[0]
    assert ": 6 problems," in of_probe(PipelineParams(splits=splits, probe=probe), data, model_folder).lines()[0]


def test_each_benchmark_has_its_own_responses_and_lengths(recipe: Recipe, data: Path, model_folder: Path) -> None:
    file = data / "problems" / "held_out.parquet"
    rows = read_problems(file)
    write_problems([row.model_copy(update={"source": "Long" if n < 10 else None}) for n, row in enumerate(rows)], file)
    config = recipe("evaluation.k=2", "evaluation.benchmarks.Long.k=5")
    assert responses_to_evaluate(config) == (40, 10 * 5 + 30 * 2)
    long = recipe("evaluation.benchmarks.Long.max_new_tokens=500")
    found = [one for one in check(long, model_folder, sampling=False).wrong if one.what == "held_out prompts"]
    assert [one.found.split(" with")[0] for one in found] == ["10 of 10"]
    assert "evaluation.benchmarks.Long.max_new_tokens" in found[0].cure
    assert found_wrong(recipe("evaluation.benchmarks.long.k=5")).keys() == {"benchmarks"}
    (power,) = [one.found for one in check(config, model_folder, sampling=False).findings if one.what == "evaluation"]
    assert power.startswith("30 problems x 2 responses + 10 problems x 5 responses: a gain below ")


def test_a_model_whose_warm_up_is_ahead_may_write_no_box_yet(recipe: Recipe, model_folder: Path) -> None:
    config = recipe("training.sampling.max_new_tokens=24", "warmup.epochs=1")
    before = {one.what: one for one in check(config, model_folder).findings if one.group == "samples"}
    assert before["can learn"].verdict == "warning"
    assert "warm-up comes first" in before["can learn"].found
    (model_folder / RECORD).write_text('{"data": "0"}', encoding="utf-8")
    try:
        after = {one.what: one for one in check(config, model_folder).findings if one.group == "samples"}
    finally:
        (model_folder / RECORD).unlink()
    assert after["can learn"].verdict == "wrong"


def test_a_recording_is_read_and_costs_nothing(data: Path, tmp_path: Path) -> None:
    problems = read_problems(data / "problems" / "train.parquet")
    file = tmp_path / "recorded.jsonl"
    teacher = TeacherConfig(kind="recorded", recording=file)
    params = PipelineParams(teacher=teacher, strategies=StrategyConfig(candidates=1))
    (missing,) = check_teacher(params, problems)
    assert (missing.verdict, missing.what) == ("wrong", "recording")
    scores = dict.fromkeys(("problem_type", "strategy", "steps", "no_leak"), 1.0)
    row = {"id": problems[0].id, "candidates": ["x"], "scores": [scores]}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (found,) = check_teacher(params, problems)
    assert found.verdict == "ok"
    assert f"1 records, of 1 of {len(problems)} training problems" in found.found
    file.write_text(json.dumps({**row, "id": "of another file"}) + "\n", encoding="utf-8")
    assert check_teacher(params, problems)[0].verdict == "wrong"
    assert estimate_teacher(params, tmp_path, problems) == []
