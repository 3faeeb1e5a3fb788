"""The stages from problems to a measured model, run by a script: JSON alone on stdout, dry runs that write nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_testbed import model_folder, tokenizer

from sgpo.checks import calibration

__all__ = ["model_folder", "tokenizer"]
pytestmark = pytest.mark.slow

PARAMS = {
    "world": {"train": 9, "tuning": 4, "held_out": 8},
    "probe": {"problems": 2, "autonomous_rollouts": 1, "guided_rollouts": 1, "sampling": {"max_new_tokens": 8}},
    "splits": {"warmup_fraction": 0.34},
}
SETTINGS = (
    "warmup.epochs=1", "warmup.batch_size=2", "warmup.held_out_fraction=0.34",
    "training.steps=1", "training.problems_per_step=2", "training.algorithm.autonomous_rollouts=2",
    "training.algorithm.guided_rollouts=2", "training.sampling.max_new_tokens=8",
    "evaluation.k=2", "evaluation.sampling.max_new_tokens=8",
)  # fmt: skip
STAGES = ("strategies respond", "strategies extract", "probe", "split", "warm-up", "train", "evaluate")

Told = Callable[..., Any]


@pytest.fixture(autouse=True)
def start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run otherwise times a process that imports all of training: `test_process_starts` does so for all."""
    monkeypatch.setattr(calibration, "start_seconds", lambda: 2.0)


@pytest.fixture
def told(sgpo: Callable[..., Any], tmp_path: Path, mlflow_database: Path, model_folder: Path) -> Told:
    """Run a stage in the test's folder with `--json`; returns what its stdout holds, which is one document."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")
    tracking = {
        "mlflow_uri": f"sqlite:///{mlflow_database}",
        "artifact_root": str(mlflow_database.parent / "artifacts"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"tracking": tracking}), encoding="utf-8")
    recipe, model = ["--config", "recipe.yaml", *SETTINGS], ["--model", str(model_folder)]
    options = {
        "probe": model,
        "warm-up": [*model, "--run", "warm", *recipe],
        "train": [*model, "--run", "run", *recipe],
        "evaluate": [*model, "--output", "outcomes.jsonl", *recipe],
    }

    def run(stage: str, *more: str) -> Any:
        done = sgpo(*stage.split(), "--json", *more, *options.get(stage, []), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout, parse_constant=pytest.fail)

    return run


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_each_stage_tells_a_script_its_result_and_before_it_what_it_will_do(
    told: Told, sgpo: Callable[..., Any], tmp_path: Path
) -> None:
    assert sgpo("world", "problems", cwd=tmp_path).returncode == 0
    results, forecasts = {}, {}
    for stage in STAGES:
        if stage != "split":
            before = contents(tmp_path)
            forecasts[stage] = told(stage, "--dry-run")
            assert contents(tmp_path) == before, stage
        results[stage] = told(stage)

    data = tmp_path / "data"
    assert all(forecast["dry_run"] is True and forecast["says"] for forecast in forecasts.values())
    assert {stage: forecast["writes"] for stage, forecast in forecasts.items()} == {
        "strategies respond": "data/responses.parquet", "strategies extract": "data/strategies.parquet",
        "probe": "data/probe.parquet", "warm-up": "warm", "train": "run", "evaluate": "outcomes.jsonl",
    }  # fmt: skip
    assert forecasts["strategies respond"]["requests"] == 9
    assert forecasts["evaluate"]["tokens"] <= 8 * 2 * 8
    assert all(forecasts[stage]["seconds"] > 0 for stage in ("probe", "warm-up", "train", "evaluate"))

    assert results["strategies respond"]["problems"] == 9
    for name, stage in (("strategies", "strategies extract"), ("probe", "probe"), ("splits", "split")):
        assert results[stage] == json.loads((data / f"{name}.json").read_text(encoding="utf-8"))
    assert results["warm-up"] == {"model": "warm/model"}
    assert results["train"] == {"model": "run/model", "validation": None}
    assert results["evaluate"]["overall"]["problems"] == 8


def test_a_dry_run_leaves_what_a_kill_has_left(told: Told, sgpo: Callable[..., Any], tmp_path: Path) -> None:
    """Reading how far an evaluation has come does not mend its file."""
    assert sgpo("world", "problems", cwd=tmp_path).returncode == 0
    partial = tmp_path / "outcomes.jsonl.partial"
    partial.write_bytes(b'{"about": {}}\n{"problem_id": "a"}\n{"prob')
    problems = str(tmp_path / "data" / "problems" / "held_out.parquet")
    before = contents(tmp_path)
    assert "1 problem measured already" in told("evaluate", "--dry-run", "--problems", problems)["says"][0]
    assert contents(tmp_path) == before


def test_a_base_model_is_foretold(sgpo: Callable[..., Any], told: Told, tmp_path: Path) -> None:
    def foretold(*command: str) -> dict[str, Any]:
        before = contents(tmp_path)
        done = sgpo(*command, "--dry-run", "--json", cwd=tmp_path)
        assert contents(tmp_path) == before
        return json.loads(done.stdout)

    assert "from the package" in foretold("world", "base-model")["says"][0]
    assert "1600 of 1600 steps left" in foretold("world", "base-model", "--build")["says"][0]
    assert sgpo("world", "problems", cwd=tmp_path).returncode == 0
    told("strategies respond")
    kept = told("strategies extract")["kept"]
    says = foretold("world", "domain-base", "--output", "base", "--steps", "7")["says"]
    assert says == [f"base: pre-trained here, 7 steps of 16 examples, from {kept} problems"]
