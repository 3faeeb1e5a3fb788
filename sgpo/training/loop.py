"""The SGPO training loop [Algorithm 1]: sample with and without the strategy, verify, weigh, distil, step."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sgpo.config import RunConfig, config_digest
from sgpo.problems import Problem
from sgpo.rollouts.groups import GroupSizes, ProblemSamples, Sampler
from sgpo.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from sgpo.training.distributed import World
from sgpo.training.metrics import alpha_bins, progress_line, step_metrics
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.order import items_of_step
from sgpo.training.policy import Policy
from sgpo.training.recorder import record_rollouts
from sgpo.training.step import SgpoGradient, Sums
from sgpo.training.sync import WeightSync

DEAD_REWARD_STEPS = 5
"""Steps in a row in which every reward was 0, or every one 1, after which a warning is printed."""


class MetricsSink(Protocol):
    """Where a step's metrics go; see sgpo.tracking."""

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

    def train(self, problems: Sequence[Problem]) -> int:
        """Run from the newest checkpoint to the last step; returns the number of steps done in all."""
        training = self.config.training
        optimizer = make_optimizer(self.policy, training)
        digest = config_digest(self.config.model_copy(update={"processes": 1}))
        state = load_checkpoint(self.folder / "checkpoints", self.policy, (optimizer,))
        if state is not None and state["config"] != digest:
            raise CheckpointError(
                f"{self.folder / 'checkpoints'}: made with another configuration ({state['config']}, now {digest}); "
                "use another run id, or the configuration in config.yaml"
            )
        start = state["step"] if state else 0
        if self.metrics is not None:
            self.metrics.resume_at(start)
        gradient = SgpoGradient(self.policy, training, self.world, self.pad_id)
        begun, dead_steps = time.perf_counter(), 0
        for step in range(start, training.steps):
            chosen = items_of_step(problems, training.problems_per_step, self.config.seed, step)
            metrics, histograms = self._step(gradient, optimizer, self.world.share(chosen), len(chosen), step)
            if self.world.is_main:
                seconds_left = (time.perf_counter() - begun) / (step + 1 - start) * (training.steps - step - 1)
                print(progress_line(step + 1, training.steps, metrics, seconds_left), flush=True)
                rewards = {metrics[name] for name in ("reward/autonomous", "reward/guided") if name in metrics}
                dead_steps = dead_steps + 1 if rewards in ({0.0}, {1.0}) else 0
                if dead_steps == DEAD_REWARD_STEPS:
                    every = f"every reward was {rewards.pop():.0f} for {dead_steps} steps"
                    print(f"warning: {every}: check the verifier, the prompts and the data", flush=True)
            if self.metrics is not None:
                self.metrics.log(step, {**metrics, **histograms})
            if (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps:
                save_checkpoint(
                    self.folder / "checkpoints", self.policy, (optimizer,), {"step": step + 1, "config": digest},
                    training.keep_checkpoints, self.world,
                )  # fmt: skip
        return training.steps

    def _step(
        self, gradient: SgpoGradient, optimizer, problems: list[Problem], problems_in_all: int, step: int
    ) -> tuple[dict[str, float], dict[str, list[float]]]:  # fmt: skip
        """One sampled batch, and one optimiser step for each of its mini-batches: its metrics and histograms."""
        training, seed = self.config.training, self.config.seed
        clock = Clock()
        self.sync.push()
        clock.lap("time/weight_sync")
        guided = training.guided_rollouts if training.objective.distillation != "none" else 0
        sizes = GroupSizes(training.autonomous_rollouts, guided)
        samples, times = self.sampler.sample(problems, sizes, training.sampling, step)
        clock.laps["time/rollout"], clock.laps["time/verify"] = times.rollout, times.verify
        clock.restart()

        sums: Sums = defaultdict(float)
        rate = learning_rate(training, step)
        minibatches = _split(samples, training.minibatches)
        prepared = [gradient.prepare(part, seed, step) for part in minibatches]
        if training.minibatches > 1:
            for part in prepared:
                gradient.remember_old_policy(part)
        for part in prepared:
            problems_in_part = int(self.world.sum({"problems": len(part.samples)})["problems"])
            part_sums = gradient.accumulate(part, max(1, problems_in_part))
            norm = optimizer_step(self.policy, optimizer, rate, training.max_grad_norm)
            part_sums["grad_norm_max"] = norm if math.isfinite(norm) else 0.0
            part_sums["steps_skipped"] = (not math.isfinite(norm)) / self.world.size
            part_sums["targets"] = len(part.targets)
            part_sums["alpha"] = sum(part.alphas())
            for place in alpha_bins(part.alphas(), training.objective.alpha_max):
                part_sums[place] += 1.0
            _merge(sums, part_sums)
        clock.lap("time/forward_backward")
        if self.world.is_main and step % training.log_rollouts_every == 0:
            record_rollouts(self.folder / "rollouts", samples, step)
        return step_metrics(samples, sums, self.world, problems_in_all, rate, clock.laps)


class Clock:
    """Seconds of the phases of a step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Start the next lap now."""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the current lap under `name` and start the next one."""
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now


def _split(samples: list[ProblemSamples], parts: int) -> list[list[ProblemSamples]]:
    return [samples[index::parts] for index in range(parts)]


def _merge(sums: Sums, part: Sums) -> None:
    for name, value in part.items():
        sums[name] = max(sums[name], value) if name.endswith("_max") else sums[name] + value
