"""The whole loop in a checkout of its own: killed in training, run again, and nothing half-written by bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_checkout import TINY_OVERRIDES, make_tiny_checkout, warm_environment_of

from sgpo.config import TrackingConfig
from sgpo.evaluation.better_worse import read_better_worse
from sgpo.registry.ancestry import ancestry
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow

# A model this small learns nothing; the gate is opened so that promotion is part of the test.
PROMOTING = ("gate.margin=-1", "gate.tolerance=1")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkout(tmp_path_factory.mktemp("checkout"))


def start_demo(checkout: Path, *overrides: str) -> subprocess.Popen[str]:
    """`make demo` with these overrides; its output, errors included, is the pipe `stdout`."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.demo", *overrides], cwd=checkout, env=warm_environment_of(checkout), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_an_override_that_is_wrong_is_one_line_and_leaves_nothing(checkout: Path) -> None:
    demo = start_demo(checkout, "training.step=3")
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert output.startswith("ConfigError: configs/testbed.yaml: unknown key 'training.step' (expected one of: ")
    assert output.count("\n") == 1
    assert not (checkout / "runs").exists()
    assert not (checkout / ".sgpo").exists()


def test_a_demo_killed_in_training_goes_on_from_its_checkpoint_to_the_summary(checkout: Path) -> None:
    first = start_demo(checkout, *TINY_OVERRIDES, *PROMOTING)
    assert first.stdout is not None
    before = []
    for line in first.stdout:
        before.append(line)
        if line.startswith("  step    2/3"):
            first.send_signal(signal.SIGKILL)
            break
    first.wait()
    assert before[-1].startswith("  step    2/3"), "".join(before)
    _wait_until_nothing_runs_in(checkout)

    second = start_demo(checkout, *TINY_OVERRIDES, *PROMOTING)
    output, _ = second.communicate(timeout=560)
    assert second.returncode == 0, output
    assert "step    1/3" not in output
    assert "step    3/3" in output
    assert "base_model: as before" in output

    run = checkout / "runs" / "demo-001"
    summary = json.loads((run / "summary.json").read_text())
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)), "a step is logged twice"
    assert (summary["champion_before"], summary["champion_after"]) == ("1", summary["challenger_version"])
    assert summary["decision"]["action"] == "promote"
    assert summary["comparison"]["overall"]["problems"] == 16
    assert {"data/strategies.parquet", "data/splits", "data/base"} <= summary["data_versions"].keys()
    assert (run / "report" / "retraining.png").stat().st_size > 10_000
    assert "Token by token" in (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "PROMOTED: version 2 is the new champion" in output
    assert (checkout / ".sgpo" / "dvc-remote").is_dir()
    _check_mlflow(checkout, run)
    _wait_until_nothing_runs_in(checkout)


def test_a_demo_killed_while_two_processes_build_the_base_model_leaves_none_of_them(
    tmp_path: Path, prefect_database: Path
) -> None:
    checkout = make_tiny_checkout(tmp_path / "checkout", prefect_database)
    params = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(params.replace("steps: 30", "steps: 100000"))
    demo = start_demo(checkout)
    assert demo.stdout is not None
    seen = []
    for line in demo.stdout:
        seen.append(line)
        if "pre-training qwen2" in line and "it/s" in line:
            break
    working = [process for process in psutil.process_iter() if _works_in(process, checkout)]
    assert sum("base-model" in process.cmdline() for process in working) >= 2, "".join(seen)
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    _wait_until_nothing_runs_in(checkout)
    assert not (checkout / "data" / "base").exists()


def _check_mlflow(checkout: Path, run: Path) -> None:
    """A parent run with a child for each phase, and a version that knows where it comes from."""
    tracking = TrackingConfig(mlflow_uri=f"sqlite:///{checkout}/.sgpo/mlflow.db")
    client = connect(tracking)
    parent = client.get_run((run / "retraining" / "mlflow_run_id").read_text())
    assert (parent.info.run_name, parent.info.status) == ("demo-001", "FINISHED")
    assert parent.data.tags["sgpo.decision"] == "promote"
    comparison = json.loads((run / "summary.json").read_text())["comparison"]
    tiers = [tier["challenger"] for tier in comparison["tiers"].values()]
    assert parent.data.metrics["eval/average"] == pytest.approx(sum(tiers) / len(tiers))
    assert parent.data.metrics["eval/average_over_problems"] == comparison["overall"]["challenger"]
    lenient = [tier["lenient"]["challenger"] for tier in comparison["tiers"].values()]
    assert parent.data.metrics["eval/average_lenient"] == pytest.approx(sum(lenient) / len(lenient))
    changed = read_better_worse(run / "evaluation" / "better_worse.jsonl")
    better = sum(row.change == "better" for row in changed)
    assert (better, len(changed) - better) == (comparison["overall"]["better"], comparison["overall"]["worse"])
    assert all(row.champion_answer and row.challenger_answer for row in changed)
    assert "eval/gain" in parent.data.metrics
    found = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )  # fmt: skip
    children = {child.info.run_name: child.data.metrics.keys() for child in found}
    assert children.keys() == {"demo-001", "demo-001 strategies", "demo-001 probe", "demo-001 evaluation"}
    assert "reward/autonomous" in children["demo-001"]
    samples = {f"rollouts/{path.name}" for path in (run / "rollouts").glob("*.jsonl")}
    training = (run / "mlflow_run_id").read_text()
    assert samples == {file.path for file in client.list_artifacts(training, "rollouts")} != set()
    assert {"strategies/kept", "strategies/high_quality"} <= children["demo-001 strategies"]
    assert {"probe/all/lift", "probe/tier_1/guided"} <= children["demo-001 probe"]
    assert {"eval/gain", "eval/gain_low"} <= children["demo-001 evaluation"]
    (version,) = ancestry(tracking, "champion")[:1]
    assert "torch" in version.lineage.environment
    assert version.attachments.keys() >= {"config.yaml", "training.json", "comparison.json"}
    assert version.lineage.data_md5s["data/splits"]


def _wait_until_nothing_runs_in(folder: Path) -> None:
    deadline = time.monotonic() + 45
    while left := [process.pid for process in psutil.process_iter() if _works_in(process, folder)]:
        assert time.monotonic() < deadline, f"processes {left} of the demo go on"
        time.sleep(0.1)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False
