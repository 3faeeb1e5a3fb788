"""The commands that flows and DVC launch under torchrun, as they launch them, against the same work in one process."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from warm_python import WarmProcess, interpreter

from flows.process import training_command
from sgpo.config.testbed import WorldConfig
from sgpo.problems import write_problems
from sgpo.rollouts.model_folder import load_model
from sgpo.testbed.stories import read
from sgpo.testbed.traces import write_trace
from sgpo.testbed.world import build_split

pytestmark = pytest.mark.slow

OVERRIDES = (
    "warmup.epochs=1", "warmup.batch_size=6", "warmup.learning_rate=0.01", "training.steps=2",
    "training.problems_per_step=4", "training.algorithm.autonomous_rollouts=2", "training.algorithm.guided_rollouts=2",
    "training.sampling.max_new_tokens=8", "training.checkpoint_every=1",
)  # fmt: skip


def run(processes: int, folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("SGPO_TRAINING_PYTHON", None)
    environment["PYTHON_EXEC"] = str(interpreter(folder))
    if processes == 1:
        alone = WarmProcess(["-m", "sgpo.cli", *arguments], folder, environment)
        output, _ = alone.communicate(timeout=300)
        assert alone.returncode == 0, output[-4000:]
        return
    done = subprocess.run(
        training_command(processes, *arguments), cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def assert_close(one: Path, two: Path, atol: float) -> None:
    """The same float32 weights but for the order of sums."""
    first, second = load_model(one)[0].state_dict(), load_model(two)[0].state_dict()
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, atol=atol, rtol=0.0)


@pytest.fixture
def with_responses(data_folder: Path) -> Path:
    """The data folder, with problems to warm up on."""
    warmup = []
    for problem in build_split(WorldConfig(train=12), "train"):
        ledger, plan = read(problem.question)
        trace = write_trace(ledger, plan, plan, random.Random(problem.id))
        warmup.append(problem.model_copy(update={"response": trace}))
    write_problems(warmup, data_folder / "splits" / "warmup.parquet")
    return data_folder


def test_training_in_two_processes_is_training_in_one(with_responses, model_folder, tmp_path):
    metrics = {}
    for processes in (1, 2):
        name = f"run{processes}"
        options = ("--model", str(model_folder), "--run", name)
        run(processes, tmp_path, "train", *options, f"data={with_responses}", *OVERRIDES)
        lines = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        metrics[processes] = [json.loads(line) for line in lines]
        assert len(lines) == 2  # one process speaks for all
    atol = 1e-5
    assert_close(tmp_path / "run1" / "model", tmp_path / "run2" / "model", atol)
    start, end = load_model(model_folder)[0].state_dict(), load_model(tmp_path / "run1" / "model")[0].state_dict()
    assert max((end[name] - start[name]).abs().max().item() for name in start) > 100 * atol
    assert metrics[1][0].keys() == metrics[2][0].keys()


@pytest.mark.long
def test_a_base_model_built_by_two_processes_is_that_of_one(tmp_path):
    params = {"base_model": {"steps": 3, "hidden_size": 32, "layers": 2, "batch_size": 5}}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        run(processes, folder, "world", "base-model")
    # Muon's bfloat16 orthogonalisation makes much of little.
    assert_close(tmp_path / "1" / "data" / "base" / "qwen2", tmp_path / "2" / "data" / "base" / "qwen2", 2e-3)
