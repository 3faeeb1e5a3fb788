"""Which problems are trained on: the gate on what a strategy was measured to be worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgpo.config import ConfigError, WarmupConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.pipeline import stages
from sgpo.pipeline.splits import LeftOutProblem, ProbedProblem, check_warmup, split
from sgpo.problems import Problem, ProblemFileError, read_problems, write_problems
from sgpo.problems.table import write_table
from sgpo.strategies.schema import CRITERIA, Strategy, StrongResponse

# Of k = 5: 3/5 - 2/5 is below 1/5 in binary.
RATES = {
    "helped": (0.4, 0.6),
    "unmoved": (0.4, 0.4),
    "harmed": (0.8, 0.2),
    "solved": (1.0, 1.0),
    "hopeless": (0.0, 0.0),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five probed problems with strategies, and one without."""
    problems = [Problem(id=name, question=f"How many sheep has {name}?", answer="7") for name in (*RATES, "bare")]
    write_problems(problems, tmp_path / "problems" / "train.parquet")
    write_problems([Problem(id="h", question="How many?", answer="9")], tmp_path / "problems" / "held_out.parquet")
    strategies = [
        Strategy(
            problem_id=name, problem_type="Flock", approach="Count in pairs.", steps=("Pair them.",), score=1.0,
            scores=dict.fromkeys(CRITERIA, 1.0), teacher="t", prompt_version="v", candidates_seen=5,
        )
        for name in RATES
    ]  # fmt: skip
    write_table(strategies, tmp_path / "strategies.parquet")
    responses = [
        StrongResponse(problem_id=name, text=f"{name}: 7", teacher="t", prompt_version="v", attempt=1) for name in RATES
    ]
    write_table(responses, tmp_path / "responses.parquet")
    probe(tmp_path, *RATES)
    return tmp_path


def probe(data: Path, *names: str) -> None:
    rows = [
        ProbedProblem(problem_id=name, autonomous=RATES[name][0], guided=RATES[name][1],
                      lift=RATES[name][1] - RATES[name][0]) for name in names
    ]  # fmt: skip
    write_table(rows, data / "probe.parquet")


def params(**splits: object) -> PipelineParams:
    return PipelineParams.model_validate({"splits": splits, "probe": {"problems": 3}})


def trained(data: Path) -> list[str]:
    return [problem.id for problem in read_problems(data / "splits" / "train.parquet")]


def left_out(data: Path) -> dict[str, str]:
    lines = (data / "splits" / "left_out.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [LeftOutProblem.model_validate_json(line) for line in lines]
    assert all((row.autonomous, row.guided) == RATES[row.problem_id] for row in rows)
    return {row.problem_id: row.reason for row in rows}


def test_what_is_trained_on_is_not_held_out(data: Path) -> None:
    train = read_problems(data / "problems" / "train.parquet")
    copy = Problem(id="copy", question=f" {train[3].question.upper()}", answer="7")
    write_problems([copy], data / "problems" / "held_out.parquet")
    with pytest.raises(
        ProblemFileError, match=rf"train\.parquet: problem '{train[3].id}' is in .*held_out\.parquet too"
    ):
        split(params(), data)
    assert not (data / "splits").exists()


def test_without_a_margin_every_problem_with_a_strategy_is_trained_on(data: Path) -> None:
    probe(data, "helped")
    split(params(), data)
    assert trained(data) == list(RATES)
    assert left_out(data) == {}
    assert json.loads((data / "splits.json").read_text())["left_out"] == {}


def test_a_strategy_is_kept_where_it_adds_at_least_the_margin(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(params(min_lift=0.2), data)
    assert trained(data) == ["helped"]
    assert left_out(data) == dict.fromkeys(("unmoved", "harmed", "solved", "hopeless"), "low_lift")
    assert json.loads((data / "splits.json").read_text()) == {
        "strategies": 5, "left_out": {"low_lift": 4}, "warmup": 0, "train": 1,
    }  # fmt: skip
    assert capsys.readouterr().out == "0 problems for warm-up, 1 for RL; left out: 4 lifted by less than 0.2\n"


def test_a_margin_of_zero_leaves_out_what_does_harm(data: Path) -> None:
    split(params(min_lift=0.0), data)
    assert left_out(data) == {"harmed": "low_lift"}


def test_solved_problems_have_their_own_reason(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(params(min_lift=0.0, drop_solved=True, warmup_fraction=0.2), data)
    assert left_out(data) == {"harmed": "low_lift", "solved": "solved"}
    (warm,) = read_problems(data / "splits" / "warmup.parquet")
    assert (warm.id, warm.response) == ("helped", "helped: 7")
    assert trained(data) == ["unmoved", "hopeless"]
    left = "1 lifted by less than 0.0, 1 solved every time without a strategy"
    assert capsys.readouterr().out == f"1 problem for warm-up, 2 for RL; left out: {left}\n"


def test_a_margin_asks_for_a_probe_of_every_strategy(data: Path) -> None:
    probe(data, "helped", "unmoved", "harmed")
    with pytest.raises(ConfigError, match=r"3 of 5 strategies are probed \(raise probe.problems from 3 to at least 5"):
        split(params(min_lift=0.1), data)
    assert not (data / "splits").exists()


def test_a_probe_that_the_margin_cannot_use_is_refused_before_it_samples(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"raise probe\.problems from 3 to at least 5"):
        stages.probe(params(min_lift=0.1), data, data / "work", data / "no model")


def test_a_margin_that_leaves_nothing_says_so_and_writes_nothing(data: Path) -> None:
    split(params(), data)
    before = trained(data)
    with pytest.raises(ConfigError, match=r"all 5 that are probed are left out \(low_lift 5; see splits.min_lift"):
        split(params(min_lift=0.5), data)
    assert trained(data) == before


def test_a_split_takes_the_place_of_the_one_before(data: Path) -> None:
    split(params(warmup_fraction=0.34), data)
    assert (data / "splits" / "warmup.parquet").exists()
    split(params(), data)
    assert sorted(file.name for file in (data / "splits").iterdir()) == [
        "held_out.parquet", "left_out.jsonl", "train.parquet",
    ]  # fmt: skip


def test_warm_up_has_the_first_problems_and_neither_the_probe_nor_rl_asks_them(data: Path) -> None:
    probe(data, "unmoved", "harmed", "solved", "hopeless")  # all but the one for warm-up: a margin may ask about them
    split(params(warmup_fraction=0.2, min_lift=0.0), data)
    assert [problem.id for problem in read_problems(data / "splits" / "warmup.parquet")] == ["helped"]
    assert trained(data) == ["unmoved", "solved", "hopeless"]
    assert json.loads((data / "splits.json").read_text())["warmup"] == 1


def test_a_warm_up_that_takes_every_problem_is_refused(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"splits.warmup_fraction is 0.95: none of 5 problems is left for RL"):
        split(params(warmup_fraction=0.95), data)


def test_a_warm_up_without_problems_is_refused_by_both_settings() -> None:
    with pytest.raises(ConfigError, match=r"warmup.epochs is 2, but splits.warmup_fraction is 0 in params.yaml"):
        check_warmup(WarmupConfig(epochs=2), params())
    check_warmup(WarmupConfig(epochs=2), params(warmup_fraction=0.3))
    check_warmup(WarmupConfig(), params())
