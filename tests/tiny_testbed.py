"""A tiny testbed: problems, strategies and an untrained model of each family, built on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.config.testbed import BaseModelConfig, WorldConfig
from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.base_model import new_model, testbed_tokenizer
from sgpo.testbed.stories import read
from sgpo.testbed.strategies import describe
from sgpo.testbed.world import build_split


@pytest.fixture(scope="session")
def tokenizer():
    return testbed_tokenizer()


@pytest.fixture(scope="session", params=["qwen2", pytest.param("llama", marks=pytest.mark.slow)])
def family(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tokenizer) -> Path:
    """An untrained Qwen2 of one layer."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    model = new_model(BaseModelConfig(hidden_size=32, layers=2), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """Splits and strategies as the data stages leave them."""
    import random

    data = tmp_path_factory.mktemp("data")
    world = WorldConfig(train=12, held_out=8, tuning=4)
    problems = build_split(world, "train")
    strategies = []
    for problem in problems:
        problem_type, approach, steps = describe(read(problem.question)[1], random.Random(problem.id))
        strategies.append(
            Strategy(
                problem_id=problem.id, problem_type=problem_type, approach=approach, steps=steps, score=1.0,
                scores=dict.fromkeys(CRITERIA, 1.0), teacher="test", prompt_version="test", candidates_seen=1,
            )
        )  # fmt: skip
    write_problems(problems, data / "splits" / "train.parquet")
    write_problems(build_split(world, "tuning"), data / "problems" / "tuning.parquet")
    write_table(strategies, data / "strategies.parquet")
    return data
