"""A study's file: its cells, what is refused, the rate that tuning chose, the tables made of its lines."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sgpo.config import ConfigError
from sgpo.study.cells import cells_of, load_study
from sgpo.study.jobs import job_of
from sgpo.study.rates import best_rate
from sgpo.study.report import LABEL_WIDTH, interval, label_of, paired, write_report
from sgpo.study.results import Result, Results, StudyError

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = {
    "recipe": "recipe.yaml",
    "results": "results.jsonl",
    "runs": "runs",
    "worlds": {
        "near": {"data": "near", "models": {"qwen2": "base/q", "llama": "base/l"}, "decisions": 3, "habit": 0.6,
                 "benchmarks": {"svamp": "svamp.parquet"}},
        "far": {"data": "far", "models": {"qwen2": "base/far"}},
    },
    "methods": {
        "grpo": {"settings": ["training.algorithm.type=grpo"]},
        "sft": {"settings": ["training.algorithm.type=sft"]},
        "sft_grpo": {"settings": ["training.algorithm.type=grpo"], "start": "sft"},
        "base": {"train": False},
    },
    "tables": {
        "tuning": {
            "worlds": ["near", "far"], "families": ["qwen2"], "methods": ["grpo"], "seeds": [0], "split": "tuning",
            "variants": {"low": ["training.learning_rate=1e-4"], "high": ["training.learning_rate=3e-4"]}, "k": [2, 4],
        },
        "main": {
            "worlds": ["near"], "families": ["qwen2", "llama"], "methods": ["base", "grpo"], "seeds": [0, 1],
            "rates_from": "tuning", "against": "grpo",
        },
    },
}  # fmt: skip


def load(tmp_path: Path, change=lambda tree: None):
    tree = copy.deepcopy(STUDY)
    tree["results"] = str(tmp_path / "results.jsonl")
    change(tree)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return load_study(file)


def result(**changes) -> Result:
    plain = {
        "cell": "tuning/near/qwen2/grpo/low/0", "table": "tuning", "world": "near", "decisions": 3, "habit": 0.6,
        "family": "qwen2", "method": "grpo", "variant": "low", "settings": (), "seed": 0, "learning_rate": 1e-4,
        "split": "tuning", "k": 4, "problems": 10, "avg": 0.5, "pass_": 0.75, "per_tier": {"1": 0.5}, "tokens": 1000,
        "seconds": 2.0, "guided_pass": None, "steps": 3, "made_of": {"code": "1"},
    }  # fmt: skip
    return Result(**{**plain, **changes})


def test_every_combination_is_a_cell_seeds_outermost(tmp_path):
    study = load(tmp_path)
    names = [cell.name for cell in cells_of(study)]
    assert len(names) == len(set(names)) == 4 + 8
    assert names[:2] == ["tuning/near/qwen2/grpo/low/0", "tuning/near/qwen2/grpo/high/0"]
    main = [cell.name for cell in cells_of(study, ("main",))]
    assert [name.rsplit("/", 1)[1] for name in main] == ["0"] * 4 + ["1"] * 4
    assert main[0] == "main/near/qwen2/base/0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["tables"]["main"]["methods"].append("sgop"), "table 'main': unknown method 'sgop'"),
        (lambda t: t["tables"]["main"]["worlds"].append("nowhere"), "table 'main': unknown world 'nowhere'"),
        (lambda t: t["tables"]["main"]["worlds"].append("far"), "world 'far' has no model of family 'llama'"),
        (lambda t: t["tables"]["main"]["seeds"].append(1), "cell 'main/near/qwen2/base/1' is there 2 times"),
        (lambda t: t["tables"]["main"].update(rates_from="main"), "rates_from 'main' is not on the tuning split"),
        (lambda t: t["methods"]["sft"].update(start="sft_grpo"), "method 'sft' starts from itself"),
        (lambda t: t["methods"]["sft"].update(start="ppo"), "starts from the unknown method 'ppo'"),
        (lambda t: t.update(recipes="x"), "unknown key 'recipes'"),
        (
            lambda t: t["tables"]["main"].update(benchmarks=["svmap"]),
            "world 'near' has no benchmark 'svmap' (expected one of: svamp)",
        ),
        (
            lambda t: t["worlds"]["far"].update(benchmarks={"own": "x.parquet"}),
            "world 'far': a benchmark 'own' (expected another name",
        ),
        (lambda t: t["tables"]["main"].update(against=["grpo", "bass"]), "table 'main': unknown method 'bass'"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, change)
    assert message in str(error.value)
    assert "study.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_table_is_named(tmp_path):
    with pytest.raises(ConfigError, match="unknown table 'mian' \\(expected one of: tuning, main\\)"):
        cells_of(load(tmp_path), ("mian",))


def test_the_best_rate_is_that_of_the_world_by_the_largest_k(tmp_path):
    study, results = load(tmp_path), Results(tmp_path / "results.jsonl")
    with pytest.raises(StudyError, match="table 'tuning' has no result of 'tuning/near/qwen2/grpo/high/0' yet"):
        best_rate(study, results, "tuning", "grpo", "near", "qwen2")
    for world, variant, rate, avg in (
        ("near", "low", 1e-4, 0.5), ("near", "high", 3e-4, 0.4), ("far", "low", 1e-4, 0.1), ("far", "high", 3e-4, 0.9),
    ):  # fmt: skip
        cell = f"tuning/{world}/qwen2/grpo/{variant}/0"
        results.add(result(cell=cell, world=world, variant=variant, learning_rate=rate, avg=avg))
        results.add(result(cell=cell, world=world, variant=variant, learning_rate=rate, avg=1.0 - avg, k=2))
        results.add(
            result(cell=cell, world=world, variant=variant, learning_rate=rate, avg=1.0 - avg, benchmark="svamp")
        )
    assert best_rate(study, results, "tuning", "grpo", "near", "qwen2") == 1e-4
    assert best_rate(study, results, "tuning", "grpo", "near", "llama") == 1e-4  # the world's, for want of the family's
    assert best_rate(study, results, "tuning", "grpo", "far", "qwen2") == 3e-4
    with pytest.raises(StudyError, match="no trials of method 'sft'"):
        best_rate(study, results, "tuning", "sft", "near", "qwen2")


def test_a_world_without_trials_takes_the_rate_of_its_family_and_each_rate_counts_on_the_same_trials(tmp_path):
    def change(tree):
        tree["tables"]["tuning"] |= {"worlds": ["near"], "families": ["qwen2", "llama"]}

    study, results = load(tmp_path, change), Results(tmp_path / "results.jsonl")
    for family, variant, rate, avg in (
        ("qwen2", "low", 1e-4, 0.4), ("qwen2", "high", 3e-4, 0.6), ("llama", "high", 3e-4, 0.1),
    ):  # fmt: skip
        cell = f"tuning/near/{family}/grpo/{variant}/0"
        results.add(result(cell=cell, world="near", family=family, variant=variant, learning_rate=rate, avg=avg))
    assert best_rate(study, results, "tuning", "grpo", "far", "qwen2") == 3e-4
    assert best_rate(study, results, "tuning", "grpo", "near", "qwen2") == 3e-4
    with pytest.raises(StudyError, match="has no result of 'tuning/near/llama/grpo/low/0' yet"):
        best_rate(study, results, "tuning", "grpo", "near", "llama")


def test_a_method_that_names_its_rate_keeps_it(tmp_path):
    def change(tree):
        tree["methods"]["sft"]["settings"].append("training.learning_rate=2e-4")
        tree["tables"]["main"]["methods"] = ["sft_grpo", "sft"]
        tree["tables"]["tuning"]["methods"] = ["sft_grpo"]
        tree["recipe"] = str(REPOSITORY / "configs" / "studies" / "recipe.yaml")

    study, results = load(tmp_path, change), Results(tmp_path / "results.jsonl")
    for world in ("near", "far"):
        for variant, rate in (("low", 1e-4), ("high", 3e-4)):
            cell = f"tuning/{world}/qwen2/sft_grpo/{variant}/0"
            results.add(
                result(cell=cell, world=world, variant=variant, method="sft_grpo", learning_rate=rate, avg=rate)
            )
    cells = {cell.method: cell for cell in cells_of(study, ("main",))}
    job = job_of(study, results, cells["sft_grpo"])
    assert job.config.training.learning_rate == 3e-4
    assert job.start is not None
    assert job.start.config.training.learning_rate == 2e-4
    assert job_of(study, results, cells["sft"]).config.training.learning_rate == 2e-4


def test_lines_of_other_data_are_refused_and_kept(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add(result())
    before = results.path.read_bytes()
    again = Results(tmp_path / "results.jsonl")
    assert again.rows == results.rows
    assert again.has("tuning/near/qwen2/grpo/low/0", [4], {"code": "1"})
    assert not again.has("tuning/near/qwen2/grpo/low/0", [4], {"code": "1"}, "svamp")
    assert again.has("tuning/near/qwen2/grpo/low/0", [], {"code": "2"}, "svamp")  # other lines are none of its own
    assert not again.has("tuning/near/qwen2/grpo/low/0", [2, 4], {"code": "1"})
    with pytest.raises(
        StudyError, match=r"row 1: cell 'tuning/near/qwen2/grpo/low/0' was made of other code \(1, now 2"
    ):
        again.has("tuning/near/qwen2/grpo/low/0", [4], {"code": "2"})
    assert results.path.read_bytes() == before


def test_a_line_has_the_columns_of_the_page_and_a_strange_one_is_named(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add(result())
    row = json.loads(results.path.read_text())
    columns = """table world decisions habit family method settings seed learning_rate split k problems avg pass
        per_tier tokens seconds guided_pass steps benchmark strict lenient"""
    assert set(columns.split()) <= row.keys()
    older = {key: value for key, value in row.items() if key not in ("benchmark", "strict", "lenient")}
    results.path.write_text(json.dumps(older) + "\n")
    (read,) = Results(results.path).rows
    assert (read.benchmark, read.strict, read.lenient) == ("own", None, None)
    with results.path.open("a") as stream:
        stream.write('{"cell": 3}\n')
    with pytest.raises(StudyError, match=r"results\.jsonl row 2: no result of a study"):
        Results(results.path)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8))
def test_the_interval_is_students(values):
    low, high = interval(values) or (0.0, 0.0)
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}[len(values)]
    assert low == pytest.approx(mean - quantile * deviation / len(values) ** 0.5, abs=1e-3)
    assert high == pytest.approx(mean + quantile * deviation / len(values) ** 0.5, abs=1e-3)


def test_methods_are_compared_seed_by_seed():
    ours = [result(seed=seed, avg=value) for seed, value in enumerate((0.5, 0.6, 0.8))]
    theirs = [result(seed=seed, avg=value) for seed, value in ((1, 0.5), (2, 0.6), (3, 0.0))]
    difference, p_value, between = paired(ours, theirs) or (0.0, None, None)
    assert difference == pytest.approx(0.15)
    # t = 0.15 / (0.0707 / sqrt 2) = 3 with one degree of freedom: p = 1 - 2 atan(3) / pi.
    assert p_value == pytest.approx(1 - 2 * np.arctan(3.0) / np.pi, abs=1e-6)
    # Student's quantile with one degree of freedom is tan(0.475 pi) = 12.706: 0.15 -+ 12.706 * 0.05.
    assert between == pytest.approx((0.15 - 12.706 * 0.05, 0.15 + 12.706 * 0.05), abs=1e-4)
    assert paired(ours[:1], theirs) is None


def test_each_benchmark_has_a_table_with_lenient_accuracy_and_every_comparison(tmp_path):
    against = {"benchmarks": ["svamp"], "against": ["base", "grpo"]}
    study = load(tmp_path, lambda tree: tree["tables"]["main"].update(against))
    results = Results(tmp_path / "results.jsonl")
    for method, values in (("base", (0.1, 0.1)), ("grpo", (0.3, 0.5))):
        for seed, value in enumerate(values):
            changes = {"table": "main", "method": method, "variant": "", "seed": seed, "learning_rate": None}
            results.add(result(cell=f"main/near/qwen2/{method}/{seed}", avg=value, lenient=value + 0.1, **changes))
            svamp = {"benchmark": "svamp", "per_tier": {"svamp": value / 2}, "lenient": value}
            results.add(result(cell=f"main/near/qwen2/{method}/{seed}", avg=value / 2, **svamp, **changes))
    page = tmp_path / "page.md"
    write_report(study, results, page, "sgpo study x")
    own, svamp = page.read_text(encoding="utf-8").split("## main, avg@4 on svamp")
    assert "## main, avg@4 on held-out problems" in own
    assert "| lenient | pass | tier 1 | against base, points | 95% interval | p | against grpo, points |" in own
    # 0.2 and 0.4: mean 0.3, standard error 0.1, one degree of freedom; p = 1 - 2 atan(3) / pi.
    assert "| 40.0 | -87.1 to 167.1 | 50.0 | 75.0 | 50.0 | +30.0 | -97.1 to +157.1 | 0.205 | - | - | - |" in own
    assert "| 10.0 | 10.0 to 10.0 | 20.0 | 75.0 | 50.0 | - | - | - | -30.0 | -157.1 to +97.1 | 0.205 |" in own
    assert "| 20.0 | -43.5 to 83.5 | 40.0 |" in svamp
    assert page.with_name("page-main-svamp-4.png").stat().st_size > 1000


def test_the_page_is_made_of_the_lines_alone(tmp_path):
    study, results = load(tmp_path), Results(tmp_path / "results.jsonl")
    for method, values in (("base", (0.1, 0.1)), ("grpo", (0.3, 0.5))):
        for seed, value in enumerate(values):
            cell = f"main/near/qwen2/{method}/{seed}"
            changes = {"table": "main", "method": method, "variant": "", "seed": seed, "split": "held_out"}
            results.add(result(cell=cell, avg=value, guided_pass=0.8 if method == "grpo" else None, **changes))
    page = tmp_path / "docs" / "page.md"
    write_report(study, results, page, "sgpo study x")
    text = page.read_text(encoding="utf-8")
    assert "## main, avg@4 on held-out problems" in text
    assert "| near | qwen2 | - | grpo | 0.0001 | 2 | 40.0 |" in text
    assert "| near | qwen2 | - | base | 0.0001 | 2 | 10.0 |" in text
    assert "| -30.0 |" in text
    assert (page.with_name("page-main-4.png")).stat().st_size > 1000


def test_what_stands_under_bars_fits_between_its_neighbours() -> None:
    said = label_of(("d6", "qwen2", "no proximal constraints", ""))
    assert said.split() == ["d6", "qwen2", "no", "proximal", "constraints"]
    assert said.splitlines()[:2] == ["d6", "qwen2"]
    assert max(map(len, said.splitlines())) <= LABEL_WIDTH
