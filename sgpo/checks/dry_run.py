"""`--dry-run`: what a long command would do, how much of it is done already, and what the rest would take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sgpo.algorithms import registry
from sgpo.amounts import counted, shown_time, shown_tokens
from sgpo.checks.calibration import Rates, calibrate
from sgpo.checks.counts import warmup_rows
from sgpo.checks.engine import open_engine
from sgpo.checks.estimate import Ahead, estimate_run, sampling_seconds
from sgpo.checks.model import check_model
from sgpo.checks.processes import process_seconds
from sgpo.checks.samples import Samples, take_samples
from sgpo.checks.teacher_cost import TeacherCost, responses_cost, strategies_cost
from sgpo.config import RunConfig, load_config
from sgpo.config.pipeline import PipelineParams
from sgpo.config.sampling import SamplingConfig
from sgpo.evaluation.outcomes import read_outcomes
from sgpo.forecast import Forecast
from sgpo.jsonl import JsonlFile
from sgpo.pipeline.splits import check_warmup, problems_for_warmup
from sgpo.pipeline.warm_up import warmup_inputs
from sgpo.problems import Problem, read_problems
from sgpo.rollouts.model_folder import ModelFolderError, local_folder
from sgpo.strategies.bank import load_strategies
from sgpo.training.checkpoints.checkpoint import newest_checkpoint
from sgpo.training.inputs import load_inputs
from sgpo.training.warmup_rows import number_held_out


def of_training(config: RunConfig, model: str | Path, run: Path) -> Forecast:
    """Say where training would begin, what it would sample, and how long it would take here."""
    inputs, training = load_inputs(config), config.training
    newest = newest_checkpoint(run / "checkpoints")
    done = 0 if newest is None else int(newest.name.removeprefix("step-"))
    sizes, left = registry.build(training, config.seed).groups(), max(0, training.steps - done)
    rows = training.problems_per_step * (sizes.autonomous + sizes.guided)
    begins = "begins" if newest is None else f"resumes after step {done}"
    rates, samples = _measured(config, model, inputs.problems, inputs.strategies)
    taught = 0 if done else warmup_rows(config, local_folder(model), None, len(inputs.problems), inputs.strategies)
    estimate = estimate_run(config, None, rates, samples, Ahead(warmup_rows=taught))
    each = estimate.step_seconds + estimate.validation_seconds / training.steps
    seconds, tokens = estimate.process_seconds + left * each + estimate.warmup_seconds, left * estimate.step_tokens
    sentences = (
        f"{run}: {training.algorithm.type} {begins}, {left} of {training.steps} steps left, of {rows} responses each, "
        f"from {counted(len(inputs.problems), 'problem')} ({len(inputs.strategies)} strategies)",
        f"about {shown_time(seconds)} here: {estimate.step_seconds:.1f} s a step, "
        f"{shown_tokens(tokens)} sampled tokens",
    )
    return Forecast(str(run), sentences, seconds, round(tokens))


def of_warmup(config: RunConfig, params: PipelineParams, model: str | Path, run: Path) -> Forecast:
    """Say how many responses a warm-up would teach in how many epochs, and how long that would take here."""
    check_warmup(config.warmup, params)
    problems, strategies = warmup_inputs(config, params)
    number_held_out(config.warmup, len(problems))  # now, rather than after the model is opened
    done = " (done already)" if (run / "done").is_file() else ""
    rates, samples = _measured(config, model, problems, strategies)
    rows = config.warmup.epochs * len(problems)
    estimate = estimate_run(config, None, rates, samples, Ahead(warmup_rows=rows))
    seconds = estimate.process_seconds + estimate.warmup_seconds
    sentences = (
        f"{run}: {config.warmup.epochs} epochs on {counted(len(problems), 'response')}{done}",
        f"about {shown_time(seconds)} here, with responses as long as the model's own",
    )
    return Forecast(str(run), sentences, seconds)


def of_evaluation(config: RunConfig, model: str | Path, output: Path, path: Path | None) -> Forecast:
    """Say how many responses an evaluation would draw, and how long that would take here."""
    path = path or config.data / "splits" / "held_out.parquet"
    problems, partial = read_problems(path), output.with_name(f"{output.name}.partial")
    done = max(0, len(JsonlFile(partial).rows) - 1) if partial.is_file() else 0
    there = "" if read_outcomes(output) is None else "; it is there: taken as it is, if about the same"
    ks = sorted({config.evaluation.k_of(problem.source) for problem in problems})
    k = " or ".join(map(str, ks))
    begun = f", {counted(done, 'problem')} measured already if about the same" if done else ""
    asked = sum(config.evaluation.k_of(problem.source) for problem in problems)
    left = asked * (len(problems) - done) // max(1, len(problems))
    seconds, tokens = _sampling(config, model, problems, {}, left, config.evaluation.sampling)
    sentences = (
        f"{output}: {counted(len(problems), 'problem')} x {k} responses{begun}{there}",
        f"about {shown_time(seconds)} here, {shown_tokens(tokens)} sampled tokens",
    )
    return Forecast(str(output), sentences, seconds, round(tokens))


def of_probe(params: PipelineParams, data: Path, model: str | Path) -> Forecast:
    """Say how many responses the probe would draw, and how long that would take here."""
    probe = params.probe
    problems = read_problems(data / "problems" / "train.parquet")
    texts = {name: strategy.text() for name, strategy in load_strategies(data / "strategies.parquet").items()}
    candidates = [problem for problem in problems if problem.id in texts]
    chosen = candidates[len(problems_for_warmup(candidates, params.splits)) :][: probe.problems]
    config = load_config().model_copy(update={"engine": probe.engine, "chat": probe.chat, "domains": params.domains})
    config = config.model_copy(update={"sharding": config.sharding.model_copy(update={"precision": probe.precision})})
    rows = len(chosen) * (probe.autonomous_rollouts + probe.guided_rollouts)
    seconds, tokens = _sampling(config, model, chosen, texts, rows, probe.sampling)
    sentences = (
        f"{data / 'probe.parquet'}: {counted(len(chosen), 'problem')}, {probe.autonomous_rollouts} responses without "
        f"and {probe.guided_rollouts} with strategy",
        f"about {shown_time(seconds)} here, {shown_tokens(tokens)} sampled tokens",
    )
    return Forecast(str(data / "probe.parquet"), sentences, seconds, round(tokens))


def of_teacher(params: PipelineParams, data: Path, stage: str) -> Forecast:
    """Say what the strong model would be asked for `responses` or `strategies`; a journal answers what is known."""
    problems = read_problems(data / "problems" / "train.parquet")
    cost: TeacherCost = responses_cost(problems) if stage == "responses" else strategies_cost(params, problems)
    sentences = (
        f"{data / stage}.parquet: {params.teacher.model}, {counted(len(problems), 'problem')}",
        f"{cost.describe(params.teacher)}; what the journal holds is asked for once only",
    )
    tokens = round(cost.prompt_tokens + cost.completion_tokens)
    return Forecast(f"{data / stage}.parquet", sentences, tokens=tokens, requests=cost.requests)


def _sampling(
    config: RunConfig, model: str | Path, problems: Sequence[Problem], texts: dict[str, str], rows: int,
    sampling: SamplingConfig,
) -> tuple[float, float]:  # fmt: skip
    """Return the seconds of a process that draws so many responses, and their tokens."""
    training = config.training.model_copy(
        update={"sampling": sampling.model_copy(update={"temperature": sampling.temperature or 1.0})}
    )
    rates, samples = _measured(config.model_copy(update={"training": training}), model, problems, texts)
    beside = process_seconds(rates.start, rates.opening)
    read = len(problems) * (samples.prompt_tokens + (samples.prompt_tokens + samples.strategy_tokens) * bool(texts))
    return beside + sampling_seconds(rates, samples, rows, sampling, read), rows * samples.mean


def _measured(
    config: RunConfig, model: str | Path, problems: Sequence[Problem], texts: dict[str, str]
) -> tuple[Rates, Samples]:
    """Return rates and samples of a model. Raises ModelFolderError for one that cannot be opened."""
    findings, opened = check_model(model, config)
    if opened is None:
        wrong = next(finding for finding in findings if finding.verdict == "wrong")
        raise ModelFolderError(f"{wrong.found} (expected {wrong.cure})")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as work, open_engine(config, opened, Path(work)) as engine:
        opening = time.perf_counter() - begun
        samples = take_samples(config, engine, opened.chat, problems, texts)
        return calibrate(config, opened, engine, samples, opening), samples
