"""Whole training runs and evaluations by vLLM. After test_engines.py, which needs servers as they were started."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from testbed_models import greedy_by_forward, make_prompts, needs_vllm

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.config.testbed import WorldConfig
from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.stories import read
from sgpo.testbed.strategies import describe
from sgpo.testbed.world import build_split

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(600)]
SMALL = (
    "training.steps=3", "training.problems_per_step=4",
    "training.algorithm.autonomous_rollouts=3", "training.algorithm.guided_rollouts=2",
    "training.checkpoint_every=2", "training.sampling.max_new_tokens=24",
    # Untrained models earn no reward: with an entropy bonus every rollout is trained on nevertheless.
    "training.algorithm.entropy_coefficient=0.001", "training.learning_rate=0.01", "training.warmup_steps=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits and strategies as the data stages leave them."""
    folder = tmp_path_factory.mktemp("data")
    problems = build_split(WorldConfig(train=12, held_out=8, tuning=4), "train")
    strategies = []
    for problem in problems:
        problem_type, approach, steps = describe(read(problem.question)[1], random.Random(problem.id))
        strategies.append(
            Strategy(
                problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
                scores=dict.fromkeys(CRITERIA, 1.0), teacher="test", prompt_version="test", candidates_seen=1,
            )
        )  # fmt: skip
    write_problems(problems, folder / "splits" / "train.parquet")
    write_table(strategies, folder / "strategies.parquet")
    return folder


def test_a_running_server_is_given_the_weights_of_the_model_that_is_measured(
    old_folder: Path, servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = load_model(old_folder)
    prompts = make_prompts(16, model.config.vocab_size)
    greedy = SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=12)
    settings = EngineConfig(kind="vllm-server", urls=(servers[1].url,))  # it was started with another model
    with open_frozen(old_folder, settings, "float32", 16, tmp_path) as (engine, _):
        monkeypatch.setattr(engine, "end_ids", (0,))  # padding, which is rarely the most probable
        responses = engine.generate(prompts, greedy, [0] * 16)
    assert [response.token_ids for response in responses] == greedy_by_forward(model, prompts, 12)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("kind", ["vllm", "vllm-server"])
def test_evaluate_takes_its_engine_from_the_settings(
    kind: str, old_folder: Path, data: Path, servers, tmp_path: Path
) -> None:
    output = tmp_path / "outcomes.jsonl"
    engine = f"{{kind: {kind}, urls: {json.dumps([servers[1].url] if kind == 'vllm-server' else [])}}}"
    command = [sys.executable, "-m", "sgpo.cli", "evaluate", "--model", str(old_folder), "--output", str(output)]
    command += ["--problems", str(data / "splits" / "train.parquet"), "evaluation.k=2", f"evaluation.engine={engine}"]
    command += ["evaluation.sampling.max_new_tokens=12"]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *rows = output.read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["about"]["engine"] == f"{kind}, float32"
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("kind", "overlap", "temperature", "replicas"),
    [("vllm", False, 1.0, 1), ("vllm", True, 0.8, 1), ("vllm-server", False, 0.8, 1), ("vllm-server", True, 0.8, 2)],
)
def test_two_sharded_processes_train_with_rollouts_of_their_own_policy(
    kind: str, overlap: bool, temperature: float, replicas: int, old_folder: Path, data: Path, servers, tmp_path: Path
) -> None:
    engine = [f"engine.kind={kind}", f"training.overlap={str(overlap).lower()}"]
    engine += [f"training.sampling.temperature={temperature}", f"sharding.replicas={replicas}"]
    if kind == "vllm-server":
        engine.append(f'engine.urls=["{servers[0].url}"]')
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        str(Path(__file__).with_name("train_with_engine.py")), str(tmp_path), str(old_folder), str(data),
        *SMALL, *engine,
    ]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["policy/staleness"] for row in rows] == [0.0, float(overlap), float(overlap)]
    # Steps are large, so that weights of the step before are far off: where none were meant there are none.
    close = rows[:1] if overlap else rows
    assert all(row["policy/sampler_mismatch_kl"] < 1e-8 for row in close)
    assert all(1.0 <= row["policy/sampler_ratio_max"] < 1.001 for row in close)
    assert all(row["policy/ratio_max"] > 1.01 for row in rows[len(close) :])
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "weights").exists()
