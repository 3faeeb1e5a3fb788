"""The sampled batch of each step: drawn when it is asked for, or one step ahead, while the step before it trains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from sgpo.config import RunConfig
from sgpo.problems import Problem
from sgpo.rollouts.groups import GroupSizes, ProblemSamples, Sampler, SamplingTimes
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.clock import Clock
from sgpo.training.distributed import World
from sgpo.training.order import items_of_step
from sgpo.training.sync import WeightSync


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
        problems: Sequence[Problem],
        world: World,
        drawn: Sequence[ProblemSamples] | None = None,
    ) -> None:
        """`drawn` has the batches of all processes that a checkpoint kept for the first step asked for."""
        self._sampler, self._sync, self._config, self._problems, self._world = sampler, sync, config, problems, world
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampling")
        self._ahead: Future[tuple[list[ProblemSamples], SamplingTimes]] | None = None
        self._drawn = None if drawn is None else {samples.problem_id: samples for samples in drawn}

    def __enter__(self) -> SampledBatches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def problems_of(self, step: int) -> list[Problem]:
        """The problems of a step, those of all processes."""
        return items_of_step(self._problems, self._config.training.problems_per_step, self._config.seed, step)

    def of(self, step: int, clock: Clock) -> list[ProblemSamples]:
        """This process's samples for `step`; collective, because weights may have to be brought to the engine."""
        if not self._config.training.overlap:
            self._sync.push(step)
            clock.lap("time/weight_sync")
            samples, times = self._draw(step)
            self._sampler.engine.rest()  # the device is the trainer's now
            clock.laps["time/rollout"], clock.laps["time/verify"] = times.rollout, times.verify
            clock.restart()
            return samples
        samples = self._kept(step) if self._ahead is None else self.waiting()
        if samples is None:  # an empty list is a process's share of a step with few problems
            self._sync.push(step)
            samples, _ = self._draw(step)
        clock.lap("time/rollout")  # what the step has waited; verdicts are in it
        self._ahead = self._drawn = None
        self._sync.push(step)
        clock.lap("time/weight_sync")
        if step + 1 < self._config.training.steps:
            self._ahead = self._thread.submit(self._draw, step + 1)
        return samples

    def waiting(self) -> list[ProblemSamples] | None:
        """What was drawn ahead for the next step, when it is there; None when nothing is drawn ahead."""
        return None if self._ahead is None else self._ahead.result()[0]

    def _kept(self, step: int) -> list[ProblemSamples] | None:
        if self._drawn is None:
            return None
        chosen = self.problems_of(step)
        if {problem.id for problem in chosen} != self._drawn.keys():
            raise CheckpointError(
                f"the newest checkpoint has rollouts of other problems than the data now give for step {step + 1} "
                "(expected the data that the run began with, or another run id)"
            )
        return [self._drawn[problem.id] for problem in self._world.share(chosen)]

    def _draw(self, step: int) -> tuple[list[ProblemSamples], SamplingTimes]:
        training = self._config.training
        guided = training.guided_rollouts if training.objective.distillation != "none" else 0
        sizes = GroupSizes(training.autonomous_rollouts, guided)
        return self._sampler.sample(self._world.share(self.problems_of(step)), sizes, training.sampling, step)
