"""A run whose training rewards rise while its validations fall, whatever it learns: a verifier that knows the step."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import ALONE, HashVerifier
from test_loop import SMALL, AlwaysFinished, Recorder

from sgpo.config import RunConfig
from sgpo.problems import Problem, Verdict, read_problems
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.bank import load_strategies
from sgpo.training.best import FILE, take_best
from sgpo.training.loop import Trainer
from sgpo.training.policy import Policy
from sgpo.training.sync import GatheredWeights, SharedWeights
from sgpo.training.validation import PROBLEMS

VALIDATED = [
    *SMALL, "training.steps=6", "training.keep_checkpoints=1", "training.validation.every=1", "training.validation.k=3",
    "evaluation.sampling.max_new_tokens=12",
]  # fmt: skip


class Planted(HashVerifier):
    """Judges training problems ever more kindly, and validation problems by `falls`, by the weights that answered."""

    falls: ClassVar = {1: 0.5, 2: 0.9, 3: 0.6, 4: 0.4, 5: 0.2, 6: 0.1}

    def __init__(self, validated_on: list[Problem]) -> None:
        self.engine: AlwaysFinished | None = None
        self.validated_on = {problem.id for problem in validated_on}
        self.calls: list[int] = []

    def score_many(self, pairs: list[tuple[str, Problem]]) -> list[Verdict]:
        assert self.engine is not None
        step = self.engine.policy_step or 0
        if pairs[0][1].id in self.validated_on:
            self.calls.append(step)
            right = round(self.falls[step] * len(pairs))
        else:
            right = round(min(1.0, 0.2 + 0.15 * step) * len(pairs))
        return [Verdict(place < right, None, "correct" if place < right else "wrong") for place in range(len(pairs))]


class Run:
    """A run that is validated on the tuning problems; ahead of the training, or with an engine that shares weights."""

    def __init__(self, folder: Path, config: RunConfig, model_folder: Path, data: Path, recorder: Recorder) -> None:
        self.folder, self.config, self.model_folder = folder, config, model_folder
        model, tokenizer = load_model(model_folder)
        own = config.training.overlap
        self.policy = Policy(model)
        validated_on = read_problems(data / PROBLEMS)
        self.verifier = Planted(validated_on)
        self.engine = AlwaysFinished(load_model(model_folder)[0] if own else model, tokenizer)
        self.verifier.engine = self.engine
        texts = {key: strategy.text() for key, strategy in load_strategies(data / "strategies.parquet").items()}
        self.trainer = Trainer(
            config, self.policy, Sampler(self.engine, tokenizer, self.verifier, texts, config.seed),
            GatheredWeights(self.policy, self.engine) if own else SharedWeights(self.engine), ALONE, recorder, folder,
            tokenizer.pad_token_id, validated_on=validated_on,
        )  # fmt: skip
        self.problems = read_problems(data / "splits" / "train.parquet")

    def train(self) -> dict[str, torch.Tensor]:
        """The weights that are exported."""
        take_best(self.policy, self.folder, self.trainer.train(self.problems), ALONE)
        return {name: value.clone() for name, value in self.policy.state_dict().items()}

    def record(self) -> dict:
        return json.loads((self.folder / FILE).read_text(encoding="utf-8"))


def untimed(recorder: Recorder) -> dict[int, dict[str, float]]:
    clock = ("time/", "throughput/", "validation/seconds")
    return {step: {k: v for k, v in row.items() if not k.startswith(clock)} for step, row in recorder.rows.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in two)


class Snapshots(Recorder):
    """The weights of every step, as its row is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: Policy | None = None
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def log(self, step: int, metrics: dict[str, float]) -> None:
        assert self.policy is not None
        self.weights[step + 1] = {name: value.clone() for name, value in self.policy.state_dict().items()}
        super().log(step, metrics)
