"""Validation in training: avg@k on the tuning problems, which says what is exported and when to stop early."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

from sgpo.config import ConfigError, RunConfig
from sgpo.evaluation.scores import Outcome, score_together
from sgpo.problems import Problem, read_problems
from sgpo.problems.made_by import no_such_file
from sgpo.problems.repeats import refuse_shared
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.lengths import refuse_too_long
from sgpo.rollouts.schema import GroupSizes, ProblemSamples
from sgpo.training.sync import WeightSync
from sgpo.training.world import World

PROBLEMS = "problems/tuning.parquet"
"""The split that is validated on, in the data folder: neither trained on nor what a promotion is decided on."""
VALIDATION_STEP = -2
"""The step that validation's seeds are derived from: all validations of a run draw with the same ones, and an
evaluation on the same problems with others, so that it does not see the luck of the checkpoint that was chosen."""


def validation_problems(config: RunConfig, trained: Sequence[Problem], folder: Path) -> list[Problem]:
    """Return the problems that training is validated on, none where it is not; a function of the seed and the file.

    `folder` is the model's. Raises ConfigError where the file is missing, ProblemFileError where it shares a problem
    with `trained`, and PromptTooLongError for problems that the model has no room for.
    """
    settings, path = config.training.validation, config.data / PROBLEMS
    if settings.every is None:
        return []
    if not path.is_file():
        raise ConfigError(
            f"{no_such_file(path)}; it is what training.validation.every={settings.every} validates on, null validates "
            "on nothing"
        )
    problems = read_problems(path)
    refuse_shared("training problems", trained, path, problems)
    count = len(problems) if settings.problems is None else min(settings.problems, len(problems))
    chosen = random.Random(f"validation problems/{config.seed}").sample(problems, count)
    refuse_too_long(
        chosen, folder, config.engine, config.chat, {}, config.evaluation.sampling.max_new_tokens,
        "evaluation.sampling.max_new_tokens",
    )  # fmt: skip
    return chosen


class Validation:
    """Draws k responses without strategy to each validation problem, sharded over the processes as rollouts are."""

    def __init__(
        self, config: RunConfig, sampler: Sampler, sync: WeightSync, world: World, problems: Sequence[Problem]
    ) -> None:
        """Take the problems of `validation_problems`."""
        self._config, self._sampler, self._sync, self._world = config, sampler, sync, world
        self._problems = problems

    def due(self, step: int) -> bool:
        """Whether the weights after `step` optimiser steps are validated."""
        training = self._config.training
        assert training.validation.every is not None
        return step % training.validation.every == 0 or step == training.steps

    def measure(self, step: int) -> dict[str, float]:
        """Return the metrics of the weights after `step` optimiser steps; collective.

        Every process returns the same, but for the time. Nothing else may be drawn meanwhile.
        """
        started = time.perf_counter()
        self._sync.push(step)
        k, settings = self._config.training.validation.k, self._config.evaluation
        samples, _ = self._sampler.sample(
            self._world.shard(self._problems), GroupSizes(k, 0), settings.sampling, VALIDATION_STEP
        )
        self._sampler.engine.release_device()
        outcomes = self._of_all_processes(samples)
        score = score_together(outcomes, [k], settings.confidence, settings.resamples, self._config.seed)
        return {
            "validation/avg_at_k": score.avg_at_k.value,
            "validation/avg_at_k_low": score.avg_at_k.low,
            "validation/avg_at_k_high": score.avg_at_k.high,
            "validation/pass_at_k": score.pass_at[k].value,
            "validation/seconds": time.perf_counter() - started,
        }

    def _of_all_processes(self, samples: Sequence[ProblemSamples]) -> list[Outcome]:
        """Return the outcomes of all processes, in the order of the problems; collective."""
        drawn = {one.problem_id: [rollout.reward for rollout in one.autonomous] for one in samples}
        nothing = [0.0] * self._config.training.validation.k
        rewards = self._world.sum(
            {
                f"{place}/{number}": reward
                for place, problem in enumerate(self._problems)
                for number, reward in enumerate(drawn.get(problem.id, nothing))
            }
        )
        return [
            Outcome(problem.id, "", tuple(rewards[f"{place}/{number}"] for number in range(len(nothing))))
            for place, problem in enumerate(self._problems)
        ]
