import hashlib
from pathlib import Path

import pytest

from sgpo.files import file_md5
from sgpo.problems.schema import Problem
from sgpo.problems.table import write_table
from sgpo.strategies.bank import QualityBands, StrategyFileError, band_of, load_strategies, quality_bands
from sgpo.strategies.schema import CRITERIA, Strategy

PROBLEMS = [Problem(id=name, question=f"What is asked in {name}?", answer="17") for name in ("a", "b", "c")]


def strategy(
    name: str, score: float = 0.5, step: str = "Add them.", scores: dict[str, float] | None = None
) -> Strategy:
    return Strategy(
        problem_id=name,
        problem_type="Sum",
        approach="Add by place value.",
        steps=("Begin.", step),
        score=score,
        scores=dict.fromkeys(CRITERIA, score) if scores is None else scores,
        teacher="t",
        prompt_version="v1",
        candidates_seen=5,
    )


def stored(folder: Path, *strategies: Strategy) -> Path:
    path = folder / "strategies.parquet"
    write_table(list(strategies), path)
    return path


def test_strategies_are_loaded_by_problem_in_file_order(tmp_path: Path) -> None:
    rows = [strategy("b"), strategy("a")]
    loaded = load_strategies(stored(tmp_path, *rows), PROBLEMS)
    assert list(loaded.items()) == [("b", rows[0]), ("a", rows[1])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (strategy("c", step="Conclude 17."), r"strategies\.parquet row 3: strategy states the final answer '17'"),
        (strategy("d"), r"strategies\.parquet row 3: problem_id 'd' is not a problem \(expected one of 3\)"),
        (strategy("a"), r"strategies\.parquet row 3: problem_id 'a' occurs twice"),
        (
            strategy("c", scores={"problem_type": 1.0}),
            r"strategies\.parquet row 3: scores has the keys \['problem_type'\]",
        ),
    ],
)
def test_a_strategy_that_may_not_be_used_is_named_by_file_and_row(tmp_path: Path, row: Strategy, message: str) -> None:
    path = stored(tmp_path, strategy("a"), strategy("b"), row)
    with pytest.raises(StrategyFileError, match=message) as caught:
        load_strategies(path, PROBLEMS)
    assert "\n" not in str(caught.value)


def test_without_problems_only_the_file_itself_is_checked(tmp_path: Path) -> None:
    assert list(load_strategies(stored(tmp_path, strategy("d", step="Conclude 17.")))) == ["d"]


def test_the_digest_is_the_md5_of_the_bytes_and_changes_with_them(tmp_path: Path) -> None:
    path = stored(tmp_path, strategy("a"))
    first = file_md5(path)
    assert first == hashlib.md5(path.read_bytes()).hexdigest()
    assert file_md5(stored(tmp_path, strategy("b"))) != first


def test_quality_bands_are_shares_with_their_lower_bounds_included() -> None:
    scores = (0.8, 0.95, 0.79, 0.5, 0.5, 0.49, 0.0, 1.0)
    assert quality_bands(strategy("a", score) for score in scores) == QualityBands(high=0.375, medium=0.375, low=0.25)
    with pytest.raises(ValueError, match="no strategies"):
        quality_bands([])


@pytest.mark.parametrize(
    ("score", "band"), [(1.0, "high"), (0.8, "high"), (0.79, "medium"), (0.5, "medium"), (0.4, "low")]
)
def test_a_band_begins_at_its_lower_bound(score: float, band: str) -> None:
    assert band_of(score) == band


def test_a_file_that_is_missing_or_no_strategy_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StrategyFileError, match=r"absent\.parquet: no such file"):
        load_strategies(tmp_path / "absent.parquet")
    write_table(PROBLEMS, tmp_path / "problems.parquet")
    with pytest.raises(StrategyFileError, match=r"problems\.parquet: unknown field"):
        load_strategies(tmp_path / "problems.parquet")
