"""What a retraining will take: seconds of its parts and tokens, from rates that were measured, before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sgpo.algorithms import registry
from sgpo.checks.amounts import shown_time, shown_tokens
from sgpo.checks.calibration import Rates, trained_rows
from sgpo.checks.finding import Finding
from sgpo.checks.samples import Samples
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.rollouts.schema import Group

GROUP = "estimate"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds and sampled tokens. Without warm-up, checkpoints, validations and the start of processes."""

    steps: int
    step_seconds: float
    sampling_seconds: float
    step_tokens: float
    evaluation_seconds: float
    evaluation_tokens: float
    probe_seconds: float = 0.0

    @property
    def training_seconds(self) -> float:
        """Return the seconds of all steps."""
        return self.steps * self.step_seconds

    @property
    def seconds(self) -> float:
        """Return the seconds of training, of both evaluations, and of the probe."""
        return self.training_seconds + self.evaluation_seconds + self.probe_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "training_seconds": self.training_seconds, "seconds": self.seconds}

    def findings(self) -> list[Finding]:
        """Return it as lines of the table."""
        tokens = self.steps * self.step_tokens
        training = (
            f"{self.steps} steps of {self.step_seconds:.1f} s ({self.sampling_seconds:.1f} s of it sampling): "
            f"{shown_time(self.training_seconds)}, {shown_tokens(tokens)} sampled tokens"
        )
        asked = f"{shown_tokens(self.evaluation_tokens)} tokens"
        evaluation = f"champion and challenger: {shown_time(self.evaluation_seconds)}, {asked}"
        found = [Finding(GROUP, "training", "ok", training), Finding(GROUP, "evaluation", "ok", evaluation)]
        if self.probe_seconds:
            found.append(Finding(GROUP, "probe", "ok", shown_time(self.probe_seconds)))
        return found


def estimate_run(config: RunConfig, params: PipelineParams | None, rates: Rates, samples: Samples) -> Estimate:
    """Return the estimate of a retraining by the recipe; responses are as long as the sampled ones."""
    training, evaluation = config.training, config.evaluation
    sizes = registry.build(training, config.seed).groups()
    mean = samples.tokens / len(samples.answers)
    longest = max(answer.tokens for answer in samples.answers)
    rows = training.problems_per_step * (sizes.autonomous + sizes.guided)
    engines = config.processes if config.engine.kind != "vllm-server" else 1
    sampling = rates.sampling(rows / engines, training.sampling.batch_size, mean, longest)
    trained = trained_rows(sizes, _differing(samples, sizes.autonomous), _pass_rate(samples, "guided"))
    gradient = rates.trained_row * training.problems_per_step * trained / config.processes
    step = max(sampling, gradient) if training.overlap else sampling + gradient
    asked = 2.0 * responses_to_evaluate(config)
    probe = 0.0
    if params is not None:
        drawn = params.probe.problems * (params.probe.autonomous_rollouts + params.probe.guided_rollouts)
        probe = rates.sampling(drawn, params.probe.sampling.batch_size, mean, longest)
    return Estimate(
        training.steps, step, sampling, rows * mean,
        rates.sampling(asked, evaluation.sampling.batch_size, mean, longest), asked * mean, probe,
    )  # fmt: skip


def _differing(samples: Samples, rollouts: int) -> float:
    """Return the share of problems of whose group of `rollouts` some are right and some not, by the pass rate alone.

    An estimate of the mean pass rate says little of single problems: a share that is rather too large.
    """
    rate = _pass_rate(samples, "autonomous")
    return 1.0 - rate**rollouts - (1.0 - rate) ** rollouts


def _pass_rate(samples: Samples, context: Group) -> float:
    """Return the mean of what the pass rate may be, by Laplace's rule: a few wrong answers do not make it zero.

    It is one half in a context that was not sampled, such as that of strategies that are not there yet.
    """
    answers = samples.of(context)
    return (sum(answer.outcome == "right" for answer in answers) + 1.0) / (len(answers) + 2.0)


def responses_to_evaluate(config: RunConfig) -> int:
    """Return how many responses one evaluation draws, each benchmark's k; 0 where its problems are not there yet."""
    import pyarrow.parquet as pq

    places = [config.data / folder / "held_out.parquet" for folder in ("splits", "problems")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return 0
    return sum(
        config.evaluation.k_of(source) for source in pq.read_table(file, columns=["source"])["source"].to_pylist()
    )
