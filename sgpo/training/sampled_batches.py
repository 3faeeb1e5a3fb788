"""The sampled batch of each step: drawn when it is asked for, or one step ahead, while the step before it trains."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from sgpo.algorithms.base import Algorithm
from sgpo.config import RunConfig
from sgpo.problems import Problem
from sgpo.rollouts.groups import Sampler, SamplingTimes
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.clock import Clock
from sgpo.training.order import counted_before, items_of_step
from sgpo.training.refill import Refill
from sgpo.training.sync import WeightSync
from sgpo.training.world import World


class SampledBatches:
    """Batches of this process in the order of the steps; a context manager that waits for what is being drawn.

    With `training.overlap` step k + 1 is drawn by a thread from the weights after k steps, while step k trains: it is
    one step old when it is trained on, never more. The first step of a run has nothing before it and is not old.
    """

    def __init__(
        self,
        sampler: Sampler,
        sync: WeightSync,
        config: RunConfig,
        algorithm: Algorithm,
        problems: Sequence[Problem],
        world: World,
        prefetched: Sequence[ProblemSamples] | None = None,
    ) -> None:
        """Take `prefetched`, what a checkpoint has for all problems of the first step asked for, in their order."""
        self._sampler, self._sync, self._config, self._sizes = sampler, sync, config, algorithm.groups()
        training = config.training
        self._refill = None
        if training.refill_rounds:
            per_step, rounds = training.problems_per_step, training.refill_rounds
            self._refill = Refill(algorithm, problems, per_step, rounds, config.seed, world)
        self._filled: dict[int, list[Problem]] = {}
        self.metrics: dict[str, float] = {}
        """What came of the refill of the newest batch."""
        self._problems, self._world = problems, world
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampling")
        self._ahead: Future[tuple[list[ProblemSamples], SamplingTimes]] | None = None
        self._prefetched = prefetched

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def problems_of(self, step: int) -> list[Problem]:
        """Return the problems of a step, those of all processes; once it is drawn, with those that have come in."""
        if step in self._filled:
            return self._filled[step]
        return items_of_step(self._problems, self._config.training.problems_per_step, self._config.seed, step)

    def of(self, step: int, clock: Clock) -> list[ProblemSamples]:
        """Return this process's samples for `step`; collective: weights may have to be brought to the engine."""
        if not self._config.training.overlap:
            self._sync.push(step)
            clock.lap("time/weight_sync")
            samples, times = self._refilled(step, *self._draw(step))
            self._sampler.engine.release_device()  # the device is the trainer's now
            clock.laps["time/rollout"], clock.laps["time/verify"] = times.rollout, times.verify
            clock.restart()
            return samples
        samples = self._from_checkpoint(step) if self._ahead is None else self.waiting()
        if samples is None:  # an empty list is a process's shard of a step with few problems
            self._sync.push(step)
            samples, _ = self._draw(step)
        clock.lap("time/rollout")  # what the step has waited; verdicts are in it
        self._ahead = self._prefetched = None
        self._sync.push(step)
        clock.lap("time/weight_sync")
        if step + 1 < self._config.training.steps:
            self._ahead = self._thread.submit(self._draw, step + 1)
        return samples

    def waiting(self) -> list[ProblemSamples] | None:
        """Return what was drawn ahead for the next step once it is there; None when nothing is drawn ahead."""
        return None if self._ahead is None else self._ahead.result()[0]

    def _from_checkpoint(self, step: int) -> list[ProblemSamples] | None:
        if self._prefetched is None:
            return None
        chosen = self.problems_of(step)
        drawn = _numbered([samples.problem_id for samples in self._prefetched])
        wanted = _numbered([problem.id for problem in chosen])
        if set(wanted) != set(drawn):
            training = self._config.training
            if training.exclude_problems or training.leave_out_too_long:  # they may be left out since then
                return None
            raise CheckpointError(
                f"the newest checkpoint has rollouts of other problems than the data now give for step {step + 1} "
                "(expected the data that the run began with, or another run id)"
            )
        found = dict(zip(drawn, self._prefetched, strict=True))
        return [found[one] for one in self._world.shard(wanted)]

    def _refilled(
        self, step: int, samples: list[ProblemSamples], times: SamplingTimes
    ) -> tuple[list[ProblemSamples], SamplingTimes]:
        """Return the samples with those of the problems that have come in, and the seconds of all draws."""
        if self._refill is None:
            return samples, times
        spent = [times]

        def draw(problems: list[Problem]) -> list[ProblemSamples]:
            more, took = self._sampler.sample(problems, self._sizes, self._config.training.sampling, step)
            spent.append(took)
            return more

        chosen, samples, self.metrics = self._refill.fill(step, self.problems_of(step), samples, draw)
        self._filled = {step: chosen}
        return samples, sum(spent[1:], spent[0])

    def _draw(self, step: int) -> tuple[list[ProblemSamples], SamplingTimes]:
        sampling, problems = self._config.training.sampling, self.problems_of(step)
        earlier = counted_before([problem.id for problem in problems])  # a step may have more than there are problems
        mine, mine_earlier = self._world.shard(problems), self._world.shard(earlier)
        return self._sampler.sample(mine, self._sizes, sampling, step, mine_earlier)


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Return each problem's id with the number of times that it comes before in the step."""
    return list(zip(names, counted_before(names), strict=True))
