"""One validation, as a program under torchrun sharded over the processes: MODEL DATA OUTPUT-FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import HashVerifier

from sgpo.config import load_config
from sgpo.problems import read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.sync import SharedWeights
from sgpo.training.validation import PROBLEMS, Validation
from sgpo.training.world import World, open_world


def validate(model_folder: Path, data: Path, world: World) -> dict[str, float]:
    """The metrics of an untrained model."""
    from test_loop import AlwaysFinished

    torch.set_num_threads(1)
    config = load_config(
        None, [f"data={data}", "training.validation={every: 1, k: 8}", "evaluation.sampling.max_new_tokens=12"]
    )
    model, tokenizer = load_model(model_folder)
    engine: TransformersEngine = AlwaysFinished(model, tokenizer)
    sampler = Sampler(engine, tokenizer, HashVerifier(), {}, config.seed)
    validation = Validation(config, sampler, SharedWeights(engine), world, read_problems(data / PROBLEMS)[:2])
    return {name: value for name, value in validation.measure(1).items() if name != "validation/seconds"}


if __name__ == "__main__":
    with open_world() as world:
        metrics = validate(Path(sys.argv[1]), Path(sys.argv[2]), world)
        (Path(sys.argv[3]) / f"{world.rank}.json").write_text(json.dumps(metrics), encoding="utf-8")
