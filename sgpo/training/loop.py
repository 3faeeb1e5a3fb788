"""The SGPO training loop [Algorithm 1]: sample with and without the strategy, verify, weigh, distil, step."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sgpo.config import RunConfig
from sgpo.files import write_json
from sgpo.problems import Problem
from sgpo.rollouts.groups import ProblemSamples, Sampler
from sgpo.training.checkpoints.checkpoint import (
    ROLLOUTS,
    SCORE,
    BackgroundCheckpoints,
    CheckpointError,
    load_checkpoint,
)
from sgpo.training.clock import Clock
from sgpo.training.distributed import World
from sgpo.training.metrics import alpha_bins, progress_line, step_metrics
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.recorder import record_rollouts
from sgpo.training.recovery.interruption import Interruption, PreemptedError
from sgpo.training.recovery.memory import MicrobatchBudget
from sgpo.training.recovery.origin import digest_of_what_is_computed
from sgpo.training.sampled_batches import SampledBatches
from sgpo.training.step import SgpoGradient, Sums
from sgpo.training.sync import WeightSync

DEAD_REWARD_STEPS = 5
"""Steps in a row in which every reward was 0, or every one 1, after which a warning is printed."""


class StoppedError(RuntimeError):
    """Steps that failed in a row, or a disk that takes nothing more: going on would waste the machine."""


class MetricsSink(Protocol):
    """Where a step's metrics go; see sgpo.tracking.tracker."""

    def log(self, step: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
        """Record the metrics of one step; a sequence is a histogram's counts."""
        ...

    def resume_at(self, step: int) -> None:
        """Forget rows of `step` and later: they will be made again."""
        ...


@dataclass(slots=True)
class Trainer:
    """What a run needs, built once by `sgpo.training.run`."""

    config: RunConfig
    policy: Policy
    sampler: Sampler
    sync: WeightSync
    world: World
    metrics: MetricsSink | None
    folder: Path
    pad_id: int
    on_published: Callable[[Path], None] | None = None

    def train(self, problems: Sequence[Problem]) -> int:
        """Run from the newest checkpoint to the last step; returns the number of steps done in all.

        Raises PreemptedError after a signal, when what is done is saved, and StoppedError when steps fail in a row.
        """
        training = self.config.training
        optimizer = make_optimizer(self.policy, training)
        saved = load_checkpoint(self.folder / "checkpoints", self.policy, (optimizer,))
        drawn = saved.pop(ROLLOUTS, None) if saved else None
        state = self._state(saved)
        if self.metrics is not None:
            self.metrics.resume_at(state["step"])
        gradient = SgpoGradient(self.policy, training, self.world, self.pad_id)
        budget = MicrobatchBudget(gradient, self.folder, self.world)
        report = StepReport(self.world, training.steps, state["step"])
        with (
            BackgroundCheckpoints(
                self.folder / "checkpoints", training.keep_checkpoints, self.world, state["step"], self.on_published
            ) as checkpoints,
            Interruption(training.grace_s) as interruption,
            SampledBatches(self.sampler, self.sync, self.config, problems, self.world, drawn) as batches,
        ):
            saving = 0.0
            for step in range(state["step"], training.steps):
                chosen = batches.problems_of(step)
                clock = Clock()
                clock.laps["time/checkpoint"] = saving
                samples = batches.of(step, clock)
                # A signal may have reached the verifier's processes too: what they said since then is not used.
                self._end_if_asked(interruption, checkpoints, optimizer, state)
                metrics, histograms = self._update(gradient, budget, optimizer, samples, len(chosen), step, clock)
                state = self._after(state, step, metrics, [problem.id for problem in chosen])
                # Before the checkpoint that counts the step as done: no step is without its metrics.
                if self.metrics is not None:
                    with self._recording():
                        self.metrics.log(step, {**metrics, **histograms})
                report.show(step, metrics)
                clock.restart()
                if (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps:
                    score = state["reward_sum"] / max(1, state["reward_steps"])
                    state = {**state, SCORE: score, "reward_sum": 0.0, "reward_steps": 0}
                    checkpoints.save(self.policy, (optimizer,), state, self._drawn_ahead(batches, interruption))
                clock.lap("time/checkpoint")
                saving = clock.laps["time/checkpoint"]
                self._end_if_asked(interruption, checkpoints, optimizer, state)
        return training.steps

    def _state(self, saved: dict[str, Any] | None) -> dict[str, Any]:
        """What a checkpoint counts, at its start or as it was saved with the same configuration."""
        digest = digest_of_what_is_computed(self.config)
        if saved is None:
            return {"step": 0, "config": digest, "skipped": [], "reward_sum": 0.0, "reward_steps": 0}
        if saved["config"] != digest:
            raise CheckpointError(
                f"{self.folder / 'checkpoints'}: made with another configuration ({saved['config']}, now {digest}); "
                "use another run id, or the configuration in config.yaml"
            )
        return saved

    def _after(
        self, state: dict[str, Any], step: int, metrics: dict[str, float], problems: list[str]
    ) -> dict[str, Any]:
        """The counts after a step; StoppedError, with a report in the run's folder, when too many failed in a row."""
        skipped = list(state["skipped"]) if metrics["optim/steps_skipped"] else []
        if metrics["optim/steps_skipped"]:
            norm = metrics["optim/grad_norm"]
            known = norm if math.isfinite(norm) else "not finite"
            skipped.append({"step": step, "grad_norm": known, "problems": problems})
        if len(skipped) >= self.config.training.max_skipped_steps:
            if self.world.is_main:
                write_json(self.folder / "stopped.json", {"skipped": skipped, "last_metrics": metrics})
            raise StoppedError(
                f"{len(skipped)} steps in a row had a gradient that is not finite, or above training.skip_grad_norm; "
                f"{self.folder / 'stopped.json'} has their problems and norms"
            )
        reward = metrics.get("reward/autonomous")
        return {
            **state,
            "step": step + 1,
            "skipped": skipped,
            "reward_sum": state["reward_sum"] + (reward or 0.0),
            "reward_steps": state["reward_steps"] + (reward is not None),
        }

    def _end_if_asked(
        self, interruption: Interruption, checkpoints: BackgroundCheckpoints, optimizer, state: dict[str, Any]
    ) -> None:
        """After a signal to any process: save what is not saved, and raise PreemptedError on all."""
        if not interruption.requested_of_any(self.world):
            return
        checkpoints.wait()  # one that failed is tried once more
        if state["step"] > checkpoints.newest_step:
            checkpoints.save(self.policy, (optimizer,), state)
        checkpoints.wait()
        saved = checkpoints.newest_step
        raise PreemptedError(
            f"asked to stop after {state['step']} steps; the same command goes on from "
            + ("there" if saved == state["step"] else f"the newest checkpoint, that of step {saved}")
        )

    def _drawn_ahead(self, batches: SampledBatches, interruption: Interruption) -> list[ProblemSamples] | None:
        """What a checkpoint keeps of the next step. A signal may have ended the verifier: its words are not kept."""
        if not self.config.training.overlap or interruption.requested_of_any(self.world):
            return None
        drawn = batches.waiting()
        return None if interruption.requested_of_any(self.world) else drawn

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """What cannot be recorded ends the run, before a checkpoint counts the step as done: its row would be lost."""
        try:
            yield
        except OSError as error:
            raise StoppedError(
                f"{self.folder}: cannot be written ({error.strerror or error}); mend that, and the same command goes "
                "on from the newest checkpoint"
            ) from None

    def _update(
        self, gradient: SgpoGradient, budget: MicrobatchBudget, optimizer, samples: list[ProblemSamples],
        problems_in_all: int, step: int, clock: Clock,
    ) -> tuple[dict[str, float], dict[str, list[float]]]:  # fmt: skip
        """An optimiser step for each mini-batch of a sampled batch: its metrics and histograms."""
        training, seed = self.config.training, self.config.seed
        sums: Sums = defaultdict(float)
        rate = learning_rate(training, step)
        prepared = budget.run(
            lambda: [
                gradient.prepare(part, seed, step)
                for part in _split(samples, training.minibatches, self.world, problems_in_all)
            ]
        )
        if training.minibatches > 1 and not gradient.old_policy_is_samplers:
            for part in prepared:
                budget.run(lambda part=part: gradient.remember_old_policy(part))
        for part in prepared:
            problems_in_part = int(self.world.sum({"problems": len(part.samples)})["problems"])
            part_sums = budget.run(
                lambda part=part, problems=problems_in_part: gradient.accumulate(part, max(1, problems))
            )
            norm, taken = optimizer_step(self.policy, optimizer, rate, training.max_grad_norm, training.skip_grad_norm)
            part_sums["grad_norm_max"] = norm if math.isfinite(norm) else math.inf
            part_sums["steps_skipped"] = (not taken) / self.world.size
            part_sums["targets"] = len(part.targets)
            part_sums["alpha"] = sum(part.alphas())
            for place in alpha_bins(part.alphas(), training.objective.alpha_max):
                part_sums[place] += 1.0
            _merge(sums, part_sums)
        clock.lap("time/forward_backward")
        if self.world.is_main and step % training.log_rollouts_every == 0:
            with self._recording():
                record_rollouts(self.folder / "rollouts", samples, step)
        return step_metrics(samples, sums, self.world, problems_in_all, step, rate, clock.laps)


class StepReport:
    """What the person watching sees: a line for each step, and a warning when rewards tell nothing."""

    def __init__(self, world: World, steps: int, start: int) -> None:
        self._world, self._steps, self._start = world, steps, start
        self._begun, self._dead_steps = time.perf_counter(), 0

    def show(self, step: int, metrics: dict[str, float]) -> None:
        """Print on the first process."""
        if not self._world.is_main:
            return
        seconds_left = (time.perf_counter() - self._begun) / (step + 1 - self._start) * (self._steps - step - 1)
        print(progress_line(step + 1, self._steps, metrics, seconds_left), flush=True)
        rewards = {metrics[name] for name in ("reward/autonomous", "reward/guided") if name in metrics}
        self._dead_steps = self._dead_steps + 1 if rewards in ({0.0}, {1.0}) else 0
        if self._dead_steps == DEAD_REWARD_STEPS:
            every = f"every reward was {rewards.pop():.0f} for {self._dead_steps} steps"
            print(f"warning: {every}: check the verifier, the prompts and the data", flush=True)


def _split(samples: list[ProblemSamples], parts: int, world: World, problems: int) -> list[list[ProblemSamples]]:
    """This process's members of each mini-batch; which problems those have does not depend on the processes."""
    members: list[list[ProblemSamples]] = [[] for _ in range(parts)]
    for place, one in zip(world.share(range(problems)), samples, strict=True):
        members[place * parts // problems].append(one)
    return members


def _merge(sums: Sums, part: Sums) -> None:
    for name, value in part.items():
        sums[name] = max(sums[name], value) if name.endswith("_max") else sums[name] + value
