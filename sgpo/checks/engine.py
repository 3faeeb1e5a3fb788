"""The engine: that it opens, and that it samples from the policy that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from sgpo.checks.finding import Finding, refusal
from sgpo.checks.model import OpenedModel
from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.problems import Problem
from sgpo.rollouts.engine import RolloutEngine
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.model_folder import pad_id
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.agreement import BOUNDS, check_agreement, probes_of
from sgpo.training.policy import Policy
from sgpo.training.world import open_world

GROUP = "engine"


@contextmanager
def open_engine(config: RunConfig, opened: OpenedModel, work: Path) -> Iterator[RolloutEngine]:
    """Yield the recipe's engine with the model's weights; on the GPU where there is one. Raises UserError."""
    if config.engine.kind == "transformers":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        opened.model.to(device)  # pyright: ignore[reportArgumentType]
        yield TransformersEngine(opened.model, opened.chat)
        return
    batch = config.training.sampling.batch_size
    with open_frozen(opened.folder, config.engine, config.sharding.precision, batch, work, config.chat) as (engine, _):
        yield engine


def check_engine(
    config: RunConfig, opened: OpenedModel, engine: RolloutEngine, problems: Sequence[Problem], texts: Mapping[str, str]
) -> Finding:
    """Return whether engine and trainer give a few sampled tokens the same log-probabilities, in the same precision."""
    precision = config.sharding.precision
    bound = config.engine.mismatch_bound or BOUNDS[precision]
    with open_world() as world:
        try:
            policy = Policy(opened.model).to(world.device)
            largest = check_agreement(
                engine, policy, opened.chat, probes_of(problems, texts), config.training.sampling, bound, world,
                pad_id(opened.tokenizer),
            )  # fmt: skip
        except UserError as error:
            return refusal(GROUP, "agreement", error)
    found = f"{config.engine.kind} and the trainer differ by at most {largest:.1e} nats a token, in {precision}"
    return Finding(GROUP, "agreement", "ok", found)
