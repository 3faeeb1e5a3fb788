"""One start of a run: where it resumes, what it records, when it saves, and why it stops."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.files import write_json
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.alarms import watch_guide
from sgpo.training.checkpoints.checkpoint import ROLLOUTS, BackgroundCheckpoints, CheckpointError, load_checkpoint
from sgpo.training.checkpoints.kept import SCORE
from sgpo.training.clock import Clock
from sgpo.training.guides import Guide
from sgpo.training.history import Ended, Validated, stops_early
from sgpo.training.metrics import MetricSums, step_metrics
from sgpo.training.policy import Policy
from sgpo.training.recorder import record_rollouts
from sgpo.training.recovery.interruption import Interruption, PreemptedError
from sgpo.training.recovery.origin import digest_of_what_is_computed
from sgpo.training.report import StepReport
from sgpo.training.sampled_batches import SampledBatches
from sgpo.training.validation import Validation
from sgpo.training.world import World

_UNRECORDED = "unrecorded"
"""Key of the state: metrics and histograms of a step that is trained and not recorded, as its validation was cut."""


class StoppedError(UserError, RuntimeError):
    """Steps that failed in a row, or a disk that takes nothing more: another step would waste the machine."""


class MetricsSink(Protocol):
    """Where a step's metrics go; see sgpo.tracking."""

    def log(self, step: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
        """Record the metrics of one step; a sequence is a histogram's counts."""
        ...

    def resume_at(self, step: int) -> None:
        """Forget rows of `step` and later: they will be made again."""
        ...


class TrainingSession:
    """Resumes a run from its newest checkpoint and carries it from step to step; a context manager."""

    def __init__(
        self, config: RunConfig, policy: Policy, optimizer: torch.optim.Optimizer, world: World, folder: Path,
        metrics: MetricsSink | None, on_published: Callable[[Path], None] | None = None,
        metric_names: Sequence[str] = (), guide: Guide | None = None, validation: Validation | None = None,
    ) -> None:  # fmt: skip
        """Load the newest checkpoint into policy, optimiser and guide.

        Raises CheckpointError when it was made with other settings.
        """
        self._config, self._policy, self._optimizer, self._world = config, policy, optimizer, world
        self._folder, self._metrics, self._metric_names = folder, metrics, metric_names
        self._guide, self._validation = guide or Guide(policy), validation
        saved = load_checkpoint(folder / "checkpoints", policy, (optimizer,), self._guide.kept())
        self.prefetched: list[ProblemSamples] | None = saved.pop(ROLLOUTS, None) if saved else None
        self._state = self._initial_state(saved)
        recorded = self.step - (_UNRECORDED in self._state)
        if metrics is not None:
            metrics.resume_at(recorded)
        training = config.training
        self._report = StepReport(world, training.steps, recorded)
        self._checkpoints = BackgroundCheckpoints(
            folder / "checkpoints", training.keep_checkpoints, world, self._state["step"], on_published
        )
        self._interruption = Interruption(training.grace_s)
        self._stack, self.clock, self._seconds_saving = ExitStack(), Clock(), 0.0

    def __enter__(self) -> Self:
        self._stack.enter_context(self._checkpoints)
        self._stack.enter_context(self._interruption)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def step(self) -> int:
        """Return how many steps are done."""
        return self._state["step"]

    @property
    def stopped_early(self) -> bool:
        """Whether validation says that training stops; a function of what checkpoints keep."""
        return stops_early(self._validations(), self._config.training.validation.patience)

    def ended(self) -> Ended:
        """Return how training ended."""
        return Ended(self.step, self.stopped_early and self.step < self._config.training.steps, self._validations())

    def steps(self) -> Iterator[int]:
        """Yield the steps that are left, each with a fresh `clock`; none after training stopped early."""
        if _UNRECORDED in self._state:
            self._record(None)
        for step in range(self.step, self._config.training.steps):
            if self.stopped_early:
                return
            self.clock = Clock()
            self.clock.laps["time/checkpoint"] = self._seconds_saving
            yield step

    def finish(
        self, step: int, samples: list[ProblemSamples], batches: SampledBatches, sums: MetricSums, rate: float
    ) -> None:
        """Validate and record a step that was trained, save where the settings say so, end the run where it must end.

        Raises StoppedError when steps fail in a row or nothing can be written, and PreemptedError after a signal.
        """
        training, clock = self._config.training, self.clock
        clock.lap("time/forward_backward")
        if self._world.is_main and step % training.log_rollouts_every == 0:
            with self.recording():
                record_rollouts(self._folder / "rollouts", samples, step)
        problems = [problem.id for problem in batches.problems_of(step)]
        metrics, histograms = step_metrics(
            samples, sums, self._world, len(problems), step, rate, clock.laps, self._metric_names
        )
        metrics |= batches.metrics
        self._state = {**self._state_after(step, metrics, problems), _UNRECORDED: [metrics, histograms]}
        if self._validation is not None:
            self._state.pop(SCORE, None)  # that of the checkpoint before
        self._record(batches)

    def _record(self, batches: SampledBatches | None) -> None:
        """Validate, log and save the last step that was trained; without `batches` it was trained before a signal."""
        training, step = self._config.training, self._state["step"] - 1
        metrics, histograms = self._state[_UNRECORDED]
        validated = self._validate(batches)
        guide, alarm, warnings = watch_guide(self._state.get("guide_alarm", {}), metrics)
        metrics = {**metrics, **validated, **alarm}
        self._state = {**self._state_after_validation(validated), "guide_alarm": guide}
        # Before the checkpoint that counts the step as done: no step is without its metrics.
        if self._metrics is not None:
            with self.recording():
                self._metrics.log(step, {**metrics, **histograms})
        self._report.show(step, metrics, warnings)
        self.clock.restart()
        if validated or (step + 1) % training.checkpoint_every == 0 or step + 1 == training.steps:
            score = self._state["reward_sum"] / max(1, self._state["reward_steps"])
            by_reward = {SCORE: score} if self._validation is None else {}
            self._state = {**self._state, **by_reward, "reward_sum": 0.0, "reward_steps": 0}
            self._save(None if batches is None else self._prefetched_of(batches))
        self.clock.lap("time/checkpoint")
        self._seconds_saving = self.clock.laps["time/checkpoint"]
        self.end_if_preempted()

    def _validate(self, batches: SampledBatches | None) -> dict[str, float]:
        """Return the metrics of the validation that is due, none where none is; after a signal PreemptedError.

        A signal may have reached the verifier's processes: what was judged since then is not used, and the run
        validates when it is resumed.
        """
        if self._validation is None or not self._validation.due(self.step):
            return {}
        if batches is not None:
            batches.waiting()  # the engine is drawing ahead, from other weights
        measured = self._validation.measure(self.step)
        self.end_if_preempted()
        return measured

    def _state_after_validation(self, validated: Mapping[str, float]) -> dict[str, Any]:
        """Return the state without the step that is being recorded, with what its validation found."""
        state = {key: value for key, value in self._state.items() if key != _UNRECORDED}
        if not validated:
            return state
        new: Validated = {"step": self.step, "avg_at_k": validated["validation/avg_at_k"]}
        return {**state, SCORE: new["avg_at_k"], "validations": [*self._validations(), new]}

    def _validations(self) -> list[Validated]:
        return self._state.get("validations", [])

    def end_if_preempted(self) -> None:
        """Save what is not saved and raise PreemptedError on all processes, after a signal to any; collective."""
        if not self._interruption.requested_of_any(self._world):
            return
        self._checkpoints.wait()  # one that failed is tried once more
        if self._state["step"] > self._checkpoints.newest_step:
            self._save(None)
        self._checkpoints.wait()
        saved = self._checkpoints.newest_step
        raise PreemptedError(
            f"preempted after {self._state['step']} steps; the same command resumes from "
            + ("there" if saved == self._state["step"] else f"the newest checkpoint, that of step {saved}")
        )

    def _save(self, prefetched: list[ProblemSamples] | None) -> None:
        self._checkpoints.save(self._policy, (self._optimizer,), self._state, prefetched, self._guide.kept())

    def _initial_state(self, saved: dict[str, Any] | None) -> dict[str, Any]:
        digest = digest_of_what_is_computed(self._config)
        if saved is None:
            return {"step": 0, "config": digest, "skipped": [], "reward_sum": 0.0, "reward_steps": 0}
        if saved["config"] != digest:
            raise CheckpointError(
                f"{self._folder / 'checkpoints'}: made with another configuration ({saved['config']}, now {digest}); "
                "use another run id, or the configuration in config.yaml"
            )
        return saved

    def _state_after(self, step: int, metrics: dict[str, float], problems: list[str]) -> dict[str, Any]:
        """Return the counts after a step; StoppedError, with a report in the folder, when too many failed in a row."""
        state, skipped = self._state, list(self._state["skipped"]) if metrics["optim/steps_skipped"] else []
        if metrics["optim/steps_skipped"]:
            norm = metrics["optim/grad_norm"]
            known = norm if math.isfinite(norm) else "not finite"
            skipped.append({"step": step, "grad_norm": known, "problems": problems})
        if len(skipped) >= self._config.training.max_skipped_steps:
            if self._world.is_main:
                write_json(self._folder / "stopped.json", {"skipped": skipped, "last_metrics": metrics})
            raise StoppedError(
                f"{len(skipped)} steps in a row had a gradient that is not finite, or above training.skip_grad_norm; "
                f"{self._folder / 'stopped.json'} has their problems and norms"
            )
        reward = metrics.get("reward/autonomous")
        return {
            **state,
            "step": step + 1,
            "skipped": skipped,
            "reward_sum": state["reward_sum"] + (reward or 0.0),
            "reward_steps": state["reward_steps"] + (reward is not None),
        }

    def _prefetched_of(self, batches: SampledBatches) -> list[ProblemSamples] | None:
        """Return what a checkpoint keeps of the next step. A signal may have ended the verifier: then nothing."""
        if not self._config.training.overlap or self._interruption.requested_of_any(self._world):
            return None
        prefetched = batches.waiting()
        return None if self._interruption.requested_of_any(self._world) else prefetched

    @contextmanager
    def recording(self) -> Iterator[None]:
        """End the run where a step cannot be recorded, before a checkpoint counts it as done: its row would be lost."""
        try:
            yield
        except OSError as error:
            raise StoppedError(
                f"{self._folder}: cannot be written ({error.strerror or error}); mend that, and the same command "
                "resumes from the newest checkpoint"
            ) from None
