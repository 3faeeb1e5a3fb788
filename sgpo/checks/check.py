"""All checks, in the order in which a person would look: model, data, strategies, services, machine, samples."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgpo.checks.calibration import Rates, calibrate
from sgpo.checks.counts import warmup_rows
from sgpo.checks.data import OpenedData, check_data
from sgpo.checks.engine import GROUP as ENGINE
from sgpo.checks.engine import check_engine, open_engine
from sgpo.checks.estimate import Ahead, Estimate, estimate_run
from sgpo.checks.finding import Finding, refusal
from sgpo.checks.machine import check_machine
from sgpo.checks.model import OpenedModel, check_model
from sgpo.checks.samples import Samples, judge_samples, take_samples
from sgpo.checks.servers import check_servers
from sgpo.checks.strategies import check_lengths, check_strategies
from sgpo.checks.teacher import check_teacher
from sgpo.checks.teacher_cost import estimate_teacher
from sgpo.checks.words import check_words
from sgpo.config import RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.errors import UserError
from sgpo.planning.workload import Assumptions
from sgpo.training.warmup import record_of


@dataclass(frozen=True, slots=True)
class Checked:
    """All findings, what was sampled, and what the samples say of the workload for an estimate."""

    findings: tuple[Finding, ...]
    samples: Samples | None = None
    estimate: Estimate | None = None

    @property
    def wrong(self) -> list[Finding]:
        """Return what training would fail at, or why it could not learn."""
        return [finding for finding in self.findings if finding.verdict == "wrong"]

    @property
    def exit_code(self) -> int:
        """Return 1 where something is wrong."""
        return 1 if self.wrong else 0

    def verdict(self) -> str:
        """Return the whole in a line."""
        counts = Counter(finding.verdict for finding in self.findings)
        parts = [f"{counts[name]} {name}" for name in ("ok", "warning", "wrong", "skipped") if counts[name]]
        return f"{', '.join(parts)}: " + ("training would fail or not learn" if self.wrong else "training can begin")

    def as_json(self) -> str:
        """Return all of it for a program."""
        whole: dict[str, Any] = {
            "verdict": "wrong" if self.wrong else "ok",
            "findings": [finding.as_dict() for finding in self.findings],
            "estimate": None if self.estimate is None else self.estimate.as_dict(),
            "samples": None if self.samples is None else self.samples.as_dict(),
        }
        return json.dumps(whole, indent=1, ensure_ascii=False)


def check(
    config: RunConfig, model: str | Path, params: PipelineParams | None = None, *, sampling: bool = True,
    strategies_expected: bool = False,
) -> Checked:  # fmt: skip
    """Look at everything that training `model` by this recipe needs; samples a few answers unless not `sampling`.

    `params` are those of the data stages, where they make the data.
    """
    begun = time.perf_counter()
    findings, opened = check_model(model, config)
    of_data, data = check_data(config, params)
    findings += of_data
    of_strategies, texts = check_strategies(config, params, data.train, strategies_expected)
    findings += of_strategies
    if opened is not None:
        findings += check_lengths(config, opened, texts, data.problems)
        findings += check_words(config, opened.tokenizer, texts, data.problems)
    if params is not None:
        findings += check_teacher(params, data.train)
    findings += check_servers(config, None if opened is None else opened.folder)
    samples = rates = estimate = None
    if opened is not None:
        if sampling and data.train and not any(finding.verdict == "wrong" for finding in of_data):
            of_samples, samples, rates = _sample(config, opened, data, texts)
            findings += of_samples
        parameters = sum(parameter.numel() for parameter in opened.model.parameters())
        findings += check_machine(config, opened.model.config, parameters, assumptions_of(config, samples))
    if opened is not None and samples is not None and rates is not None:
        missing = 0 if (config.data / "strategies.parquet").is_file() else len(data.train)
        taught = warmup_rows(config, opened.folder, params, len(data.train), texts)
        ahead = Ahead(time.perf_counter() - begun, missing, taught)
        estimate = estimate_run(config, params, rates, samples, ahead)
        findings += estimate.findings()
    if params is not None and data.train:
        findings += estimate_teacher(params, config.data, data.train)
    order = list(dict.fromkeys(finding.group for finding in findings))
    return Checked(tuple(sorted(findings, key=lambda finding: order.index(finding.group))), samples, estimate)


def _sample(
    config: RunConfig, opened: OpenedModel, data: OpenedData, texts: dict[str, str]
) -> tuple[list[Finding], Samples | None, Rates | None]:
    try:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as work, open_engine(config, opened, Path(work)) as engine:
            opening = time.perf_counter() - begun
            agreement = check_engine(config, opened, engine, data.train, texts)
            if agreement.verdict == "wrong":
                return [agreement], None, None
            samples = take_samples(config, engine, opened.chat, data.train, texts)
            rates = calibrate(config, opened, engine, samples, opening)
    except UserError as error:
        return [refusal(ENGINE, "opens", error)], None, None
    except ModuleNotFoundError as error:
        cure = "SGPO_TRAINING_PYTHON, an environment that has it (docs/rollouts.md)"
        return [Finding(ENGINE, "opens", "wrong", f"{error.name} is not installed here", cure)], None, None
    # The model that was warmed up is the one that has to answer; before that, teaching it to is the warm-up's task.
    warmup_ahead = bool(config.warmup.epochs) and record_of(opened.folder) is None
    return [agreement, *judge_samples(samples, config, warmup_ahead)], samples, rates


def assumptions_of(config: RunConfig, samples: Samples | None) -> Assumptions:
    """Return what a plan has to assume, as the samples show it; the plan's own where there are none."""
    if samples is None or not samples.answers:
        return Assumptions()
    longest = config.training.sampling.max_new_tokens
    guided = samples.of("guided")
    passing = sum(answer.outcome == "right" for answer in guided) / len(guided) if guided else 0.5
    cut = sum(answer.outcome == "cut" for answer in samples.answers) / len(samples.answers)
    mean = min(longest, max(1, round(samples.tokens / len(samples.answers))))
    return Assumptions(round(samples.prompt_tokens), round(samples.strategy_tokens), mean, passing, 1.0, cut)
