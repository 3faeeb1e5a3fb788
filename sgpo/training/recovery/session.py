"""One start of a run: where it resumes, what it records, when it saves, and why it stops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import torch

from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.files import write_json
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.alarms import watch_guide, watch_learning
from sgpo.training.checkpoints.checkpoint import ROLLOUTS, BackgroundCheckpoints, CheckpointError, load_checkpoint
from sgpo.training.clock import Clock
from sgpo.training.guides import Guide
from sgpo.training.history import Ended, Validated, stops_early
from sgpo.training.metrics import MetricSums, step_metrics
from sgpo.training.policy import Policy
from sgpo.training.recorder import record_rollouts
from sgpo.training.recovery.interruption import Interruption, PreemptedError
from sgpo.training.recovery.origin import digest_of_what_is_computed
from sgpo.training.recovery.state import RunState, Skipped, after_step, after_validation, at_checkpoint, first_state
from sgpo.training.report import StepReport
from sgpo.training.sampled_batches import SampledBatches
from sgpo.training.validation import Validation
from sgpo.training.world import World

STOPPED = "stopped.json"
"""In the run's folder: why a run stopped by itself."""


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
        self._state: RunState = self._initial_state(saved)
        recorded = self.step - ("unrecorded" in self._state)
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
        if "unrecorded" in self._state:
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
        state = after_step(self._state, step, metrics, problems)
        self._stop_after_skipped(state["skipped"], metrics)
        self._state = {**state, "unrecorded": [metrics, histograms]}
        if self._validation is not None:
            self._state.pop("score", None)  # that of the checkpoint before
        self._record(batches)

    def _record(self, batches: SampledBatches | None) -> None:
        """Validate, log and save the last step that was trained; without `batches` it was trained before a signal."""
        training, step = self._config.training, self._state["step"] - 1
        assert "unrecorded" in self._state
        metrics, histograms = self._state["unrecorded"]
        validated = self._validate(batches)
        guide, alarm, warnings = watch_guide(self._state.get("guide_alarm", {}), metrics)
        equal, idle, stuck = watch_learning(self._state.get("equal_steps", 0), metrics, training.stop_after_equal_steps)
        metrics = {**metrics, **validated, **alarm, **idle, **self._report.estimate(step, metrics)}
        state = after_validation(self._state, validated.get("validation/avg_at_k"))
        # A run that stops counts anew when it is resumed.
        self._state = {**state, "guide_alarm": guide, "equal_steps": 0 if stuck else equal}
        # Before the checkpoint that counts the step as done: no step is without its metrics.
        if self._metrics is not None:
            with self.recording():
                self._metrics.log(step, {**metrics, **histograms})
        self._report.show(step, metrics, warnings)
        self.clock.restart()
        ended = step + 1 == training.steps
        if validated or (step + 1) % training.checkpoint_every == 0 or ended or stuck:
            self._state = at_checkpoint(self._state, score_by_reward=self._validation is None)
            self._save(None if batches is None else self._prefetched_of(batches))
        self.clock.lap("time/checkpoint")
        self._seconds_saving = self.clock.laps["time/checkpoint"]
        self.end_if_preempted()
        if stuck and not ended:
            self._stop(stuck, metrics)

    def _stop(self, why: str, metrics: Mapping[str, float]) -> None:
        """End a run that another step would be wasted on; its checkpoint is written."""
        self._checkpoints.wait()
        if self._world.is_main:
            write_json(self._folder / STOPPED, {"reason": why, "step": self.step, "last_metrics": dict(metrics)})
        raise StoppedError(
            f"{why}. Stopped after step {self.step}, whose checkpoint is kept: the same command resumes for as many "
            "steps again, with training.stop_after_equal_steps=null to the end"
        )

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

    def _initial_state(self, saved: dict[str, Any] | None) -> RunState:
        digest = digest_of_what_is_computed(self._config)
        if saved is None:
            return first_state(digest)
        if saved["config"] != digest:
            raise CheckpointError(
                f"{self._folder / 'checkpoints'}: made with another configuration ({saved['config']}, now {digest}); "
                "use another run id, or the configuration in config.yaml"
            )
        return cast(RunState, saved)

    def _stop_after_skipped(self, skipped: list[Skipped], metrics: Mapping[str, float]) -> None:
        """Raise StoppedError, with a report in the folder, when too many steps in a row were not taken."""
        if len(skipped) < self._config.training.max_skipped_steps:
            return
        if self._world.is_main:
            write_json(self._folder / STOPPED, {"skipped": skipped, "last_metrics": metrics})
        raise StoppedError(
            f"{len(skipped)} steps in a row had a gradient that is not finite, or above training.skip_grad_norm; "
            f"{self._folder / STOPPED} has their problems and norms"
        )

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
