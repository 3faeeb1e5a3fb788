"""What a warm-up learns from: each problem's response behind its prompt alone, or behind the one with its strategy."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sgpo.algorithms.rows import Row
from sgpo.config import ConfigError, RunConfig, WarmupConfig
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.lengths import describe
from sgpo.training.world import World


@dataclass(frozen=True, slots=True)
class Contexts:
    """One response in both contexts; `guided` is None where the problem has no strategy, or none is wanted."""

    alone: Row
    guided: Row | None = None

    def row(self, epoch: int, share: float) -> Row:
        """Return the row of an epoch, from 0: in `share` of the epochs, and of each epoch's rows, the guided one.

        The contexts take turns (by Bresenham's line), so that the shares are exact and no draw decides.
        """
        turn = self.alone.index + epoch
        is_guided = int((turn + 1) * share) > int(turn * share)
        return self.guided if self.guided is not None and is_guided else self.alone

    def __len__(self) -> int:
        """Return the tokens of the longer one."""
        return max(len(self.alone), len(self.guided or ()))


def response_of(problem: Problem) -> str:
    """Return the response to learn from; ConfigError for a problem without one."""
    if not problem.response:
        raise ConfigError(f"warm-up problem '{problem.id}' has no response (expected a strong model's response)")
    return problem.response


def make_contexts(
    problems: Sequence[Problem], strategies: Mapping[str, str], chat: ChatFormat, settings: WarmupConfig
) -> list[Contexts]:
    """Return the problems' responses in both contexts; ConfigError for a problem without a response."""
    found = []
    for key, problem in enumerate(problems):
        response = chat.response_ids(response_of(problem))
        strategy = strategies.get(problem.id) if settings.guided_fraction else None
        guided = None if strategy is None else Row(tuple(chat.guided(problem.question, strategy)), response, key)
        found.append(Contexts(Row(tuple(chat.autonomous(problem.question)), response, key), guided))
    return found


def that_fit(
    contexts: list[Contexts], problems: Sequence[Problem], positions: int, config: RunConfig, world: World
) -> list[Contexts]:
    """Return those that the model has positions for; the others are refused by id, or left out and said."""
    found = {problems[pair.alone.index].id: len(pair) for pair in contexts if len(pair) > positions}
    if found and not config.training.leave_out_too_long:
        raise PromptTooLongError(
            f"warm-up: {describe(found, len(problems), positions)} "
            "(expected shorter ones, or training.leave_out_too_long=true)"
        )
    if found and world.is_main:
        print(f"warm-up leaves out {describe(found, len(problems), positions)}", flush=True)
    return [pair for pair in contexts if len(pair) <= positions]


def hold_out(settings: WarmupConfig, contexts: list[Contexts], seed: int) -> tuple[list[Contexts], list[Contexts]]:
    """Return those to train on and those whose loss selects the epoch. Raises ConfigError where there are too few."""
    held_out = number_held_out(settings, len(contexts))
    shuffled = random.Random(f"warm-up/{seed}").sample(contexts, len(contexts))
    return shuffled[held_out:], shuffled[:held_out]


def number_held_out(settings: WarmupConfig, problems: int) -> int:
    """Return how many of so many problems are held out. Raises ConfigError where none is, or none is left."""
    held_out = round(settings.held_out_fraction * problems)
    if not 0 < held_out < problems:
        raise ConfigError(
            f"warm-up has {problems} problems and holds out {settings.held_out_fraction:.0%} of them "
            "(expected at least one held out and one to train on; see splits.warmup_fraction in params.yaml)"
        )
    return held_out


def rows_of_step(contexts: list[Contexts], settings: WarmupConfig, seed: int, step: int) -> list[Row]:
    """Return the batch of step 0, 1, …: every epoch is a new permutation, and its last batch may be smaller."""
    epoch, batch = divmod(step, -(-len(contexts) // settings.batch_size))
    order = list(range(len(contexts)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    chosen = order[batch * settings.batch_size :][: settings.batch_size]
    return [contexts[index].row(epoch, settings.guided_fraction) for index in chosen]


def data_digest(problems: Sequence[Problem], strategies: Mapping[str, str], settings: WarmupConfig) -> str:
    """Return a hash of what a warm-up learns from: 16 hex digits."""
    guided = settings.guided_fraction > 0.0
    rows = [
        [problem.id, problem.question, problem.response, strategies.get(problem.id) if guided else None]
        for problem in problems
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
