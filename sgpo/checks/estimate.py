"""What a retraining will take: seconds of its parts and tokens, from rates that were measured, before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sgpo.algorithms import registry
from sgpo.amounts import shown_time, shown_tokens
from sgpo.checks.calibration import Rates
from sgpo.checks.counts import responses_to_evaluate, responses_to_validate
from sgpo.checks.finding import Finding
from sgpo.checks.gradient_tokens import PromptAndResponse, trained_tokens
from sgpo.checks.pass_rates import pass_rate, share_that_differs, share_with_a_right_one
from sgpo.checks.processes import Processes, count_processes, process_seconds, strategies_seconds
from sgpo.checks.samples import Samples
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.config.sampling import SamplingConfig

GROUP = "estimate"


@dataclass(frozen=True, slots=True)
class Ahead:
    """What of a retraining is not done yet.

    `checking` are seconds that the check takes beside its imports; of the problems those are counted whose strategy is
    to be made, and of the warm-up its rows in all epochs.
    """

    checking: float = 0.0
    strategies: int = 0
    warmup_rows: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds and sampled tokens of a retraining. Without checkpoints, and without what an endpoint takes to answer.

    `process_seconds` are those of one process with the model beside its work, `processes` those of all.
    """

    steps: int
    step_seconds: float
    sampling_seconds: float
    step_tokens: float
    evaluation_seconds: float
    evaluation_tokens: float
    processes: Processes
    process_seconds: float = 0.0
    probe_seconds: float = 0.0
    validation_seconds: float = 0.0
    warmup_seconds: float = 0.0
    strategies_seconds: float = 0.0
    checking_seconds: float = 0.0

    @property
    def training_seconds(self) -> float:
        """Return the seconds of all steps."""
        return self.steps * self.step_seconds

    @property
    def seconds(self) -> float:
        """Return the seconds of the whole retraining."""
        before = self.checking_seconds + self.strategies_seconds + self.probe_seconds + self.warmup_seconds
        measured = self.validation_seconds + self.evaluation_seconds
        return before + self.training_seconds + measured + self.processes.seconds

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
        small = {
            "strategies": self.strategies_seconds,
            "probe": self.probe_seconds,
            "warm-up": self.warmup_seconds,
            "validation": self.validation_seconds,
        }
        told = {
            "training": training,
            "evaluation": f"champion and challenger: {shown_time(self.evaluation_seconds)}, {asked}",
            **{name: shown_time(seconds) for name, seconds in small.items() if seconds},
            "processes, statistics, tracking": self.processes.describe(),
            "whole retraining": shown_time(self.seconds),
        }
        return [Finding(GROUP, name, "ok", found) for name, found in told.items()]


def estimate_run(
    config: RunConfig, params: PipelineParams | None, rates: Rates, samples: Samples, ahead: Ahead | None = None
) -> Estimate:
    """Return the estimate of a retraining by the recipe; responses are as long as the sampled ones."""
    training, evaluation, ahead = config.training, config.evaluation, ahead or Ahead()
    sizes = registry.build(training, config.seed).groups()
    rows = training.problems_per_step * (sizes.autonomous + sizes.guided)
    engines = config.processes if config.engine.kind != "vllm-server" else 1
    alone, with_strategy = samples.prompt_tokens, samples.prompt_tokens + samples.strategy_tokens
    read = (sizes.autonomous > 0) * alone + (sizes.guided > 0) * with_strategy
    sampling = sampling_seconds(
        rates, samples, rows / engines, training.sampling, training.problems_per_step * read / engines
    )
    guided = pass_rate(samples, "guided")
    lengths = PromptAndResponse(samples.prompt_tokens, samples.strategy_tokens, samples.mean)
    trained = trained_tokens(
        lengths, sizes.autonomous, share_that_differs(pass_rate(samples, "autonomous"), sizes.autonomous),
        share_with_a_right_one(guided, sizes.guided), sizes.guided * guided, training.shared_prompts,
    )  # fmt: skip
    gradient = rates.trained_token * training.problems_per_step * trained / config.processes
    taught = lengths.prompt + config.warmup.guided_fraction * lengths.strategy + lengths.response
    problems, asked = responses_to_evaluate(config)
    validations, validated = responses_to_validate(config)
    valid = validated / engines
    probe = strategies = 0.0
    if params is not None:
        drawn = params.probe.problems * (params.probe.autonomous_rollouts + params.probe.guided_rollouts)
        read = params.probe.problems * (alone + with_strategy)
        probe = sampling_seconds(rates, samples, drawn, params.probe.sampling, read)
        strategies = strategies_seconds(params, ahead.strategies, rates.start)
    return Estimate(
        steps=training.steps,
        step_seconds=max(sampling, gradient) if training.overlap else sampling + gradient,
        sampling_seconds=sampling,
        step_tokens=rows * samples.mean,
        evaluation_seconds=2 * sampling_seconds(rates, samples, asked, evaluation.sampling, problems * alone),
        evaluation_tokens=2 * asked * samples.mean,
        processes=count_processes(config, params, ahead.strategies > 0, rates.start, rates.opening),
        process_seconds=process_seconds(rates.start, rates.opening),
        probe_seconds=probe,
        validation_seconds=validations
        * sampling_seconds(rates, samples, valid, evaluation.sampling, valid / config.training.validation.k * alone),
        warmup_seconds=ahead.warmup_rows * taught * rates.trained_token / config.processes,
        strategies_seconds=strategies,
        checking_seconds=ahead.checking if params is not None and config.checks.before_training else 0.0,
    )


def sampling_seconds(rates: Rates, samples: Samples, rows: float, sampling: SamplingConfig, prompts: float) -> float:
    """Return the seconds to draw `rows` responses to prompts of so many tokens in all; 0.0 of none."""
    longest = samples.longest(min(rows, sampling.batch_size), sampling.max_new_tokens)
    return rates.sampling(rows, sampling.batch_size, samples.mean, longest, prompts)
