"""A run's comparison is computed once for the same outcomes, and again for others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.runtime import flow_run
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from flows import evaluate
from flows.evaluate import comparison_of, list_changes
from flows.process import REPOSITORY
from sgpo.config import RunConfig, load_config
from sgpo.evaluation import Comparison, Outcome, reuse
from sgpo.evaluation.better_worse import read_better_worse
from sgpo.evaluation.outcomes import write_outcomes
from sgpo.evaluation.report import compare_files
from sgpo.evaluation.scores import EvaluationError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
CONFIG = load_config(None, ["evaluation.resamples=200"])


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Outcomes of the run `a` in a repository of the test's own, and a cache of its own."""
    monkeypatch.setattr(evaluate, "REPOSITORY", tmp_path)
    folder = tmp_path / "runs" / "a" / "evaluation"
    write_outcomes([Outcome("p", "x", (1.0, 0.0)), Outcome("q", "x", (0.0, 0.0))], folder / "champion.jsonl", {})
    write_outcomes([Outcome("p", "x", (1.0, 1.0)), Outcome("q", "x", (0.0, 1.0))], folder / "challenger.jsonl", {})
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        yield folder


def compare_in_a_flow(config: RunConfig = CONFIG) -> tuple[Comparison, str]:
    """The comparison, and the name of the state that its task ended in."""
    ids: list[str] = []

    @flow
    def comparing() -> Comparison:
        ids.append(flow_run.id)
        return comparison_of(config, "a")

    found = comparing()
    with get_client(sync_client=True) as client:
        (task,) = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))  # pyright: ignore[reportArgumentType]
    return found, task.state_name or ""


def test_the_same_outcomes_are_compared_once_and_kept_as_json(outcomes: Path, tmp_path: Path) -> None:
    direct = compare_files(CONFIG, outcomes / "champion.jsonl", outcomes / "challenger.jsonl")
    assert compare_in_a_flow() == (direct, "Completed")
    assert compare_in_a_flow() == (direct, "Cached")
    (kept,) = (path for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert b'"serializer":{"type":"json"' in kept.read_bytes().replace(b" ", b"").replace(b"\n", b"")


def test_other_outcomes_or_settings_are_compared_anew(outcomes: Path) -> None:
    before, _ = compare_in_a_flow()
    write_outcomes([Outcome("p", "x", (0.0, 0.0)), Outcome("q", "x", (0.0, 0.0))], outcomes / "challenger.jsonl", {})
    after, state = compare_in_a_flow()
    assert state == "Completed"
    assert before.overall.challenger != after.overall.challenger == 0.0
    assert compare_in_a_flow(load_config(None, ["evaluation.resamples=200", "seed=1"]))[1] == "Completed"


def test_the_same_outcomes_are_compared_anew_by_other_code(
    outcomes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare_in_a_flow()
    changed = shutil.copytree(REPOSITORY / "sgpo", tmp_path / "checkout" / "sgpo") / "evaluation" / "intervals.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "# another bound\n", encoding="utf-8")
    monkeypatch.setattr(reuse, "__file__", str(changed.with_name("reuse.py")))
    assert compare_in_a_flow()[1] == "Completed"


def test_what_got_better_and_worse_is_listed_beside_the_comparison(outcomes: Path) -> None:
    flow(list_changes)(outcomes)
    rows = read_better_worse(outcomes / "better_worse.jsonl")
    assert [(row.change, row.problem_id) for row in rows] == [("better", "p"), ("better", "q")]


def test_a_run_that_was_not_evaluated_is_named(outcomes: Path) -> None:
    (outcomes / "challenger.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"runs/a/evaluation/challenger\.jsonl: no such file"):
        comparison_of(CONFIG, "a")
