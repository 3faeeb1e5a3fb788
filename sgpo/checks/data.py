"""The problems: schema, repeats, golds that verify, splits that share nothing, what the evaluation could prove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sgpo.amounts import counted
from sgpo.checks.finding import Finding, refusal, shown_ids
from sgpo.checks.verifiers import check_verifiers
from sgpo.config import ConfigError, RunConfig
from sgpo.config.pipeline import PipelineParams
from sgpo.errors import UserError
from sgpo.evaluation.measure import check_benchmarks
from sgpo.evaluation.power import found_gain, shown_gain
from sgpo.problems import Problem, Verifier
from sgpo.problems.repeats import plain_question, refuse_shared
from sgpo.problems.rows import ProblemFileError
from sgpo.problems.sources import read_sources

GROUP = "data"
SPLITS = ("train", "tuning", "held_out")
GOLDS = 1000
"""Golds that are judged against themselves, evenly over a file."""
FEW_PROVABLE = 0.10
"""An evaluation that cannot show a smaller gain than this is warned of."""


@dataclass(frozen=True, slots=True)
class OpenedData:
    """The problems of each split that could be read, and the file that each came from."""

    problems: dict[str, list[Problem]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def train(self) -> list[Problem]:
        """Return the training problems; none where they cannot be read."""
        return self.problems.get("train", [])


def check_data(config: RunConfig, params: PipelineParams | None) -> tuple[list[Finding], OpenedData]:
    """Return what is found about the problems of `config.data`, and those that could be read."""
    findings: list[Finding] = []
    data = OpenedData()
    for split in SPLITS:
        findings += _read(config, split, data)
    for split, problems in data.problems.items():
        findings.append(_golds(split, problems, config))
    findings += check_verifiers(data.train, config)
    findings += _overlap(data)
    if params is not None:
        findings += _settings(config, params)
    if "held_out" in data.problems:
        try:
            check_benchmarks(data.problems["held_out"], config.evaluation)
        except UserError as error:
            findings.append(refusal(GROUP, "benchmarks", error))
        findings.append(_power(config, data.problems["held_out"]))
    return findings, data


def _read(config: RunConfig, split: str, data: OpenedData) -> list[Finding]:
    """Read a split from where the data stages take it, or else from where training does."""
    places = [config.data / folder / f"{split}.parquet" for folder in ("problems", "splits")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        needed = split != "tuning" or config.training.validation.every is not None
        return [Finding(GROUP, split, "wrong", f"{places[0]}: no such file", _IMPORT.format(split))] if needed else []
    try:
        problems, reports = read_sources([file])
    except ProblemFileError as error:
        return [refusal(GROUP, split, error)]
    data.problems[split], data.files[split] = problems, file
    alike = Counter(plain_question(problem.question) for problem in problems)
    repeated = sum(report.merged for report in reports) + sum(count - 1 for count in alike.values())
    if repeated:
        return [
            Finding(
                GROUP, split, "warning",
                f"{file}: {counted(len(problems), 'problem')}, {repeated} that repeat another question",
                "each question once: the others are asked, and counted, more often",
            )
        ]  # fmt: skip
    return [Finding(GROUP, split, "ok", f"{file}: {counted(len(problems), 'problem')}")]


_IMPORT = "`sgpo problems import FILE --split {}`, or for the testbed `dvc repro world`"


def _golds(split: str, problems: Sequence[Problem], config: RunConfig) -> Finding:
    """Judge each gold, as its domain presents it, against itself: what fails here can never be rewarded."""
    stride = max(1, len(problems) // GOLDS)
    asked = list(problems[::stride])
    evaluation = config.evaluation
    try:
        with Verifier(evaluation.verifier_timeout, evaluation.verifier_workers, config.domains, problems) as verifier:
            verdicts = verifier.score_many(list(zip(verifier.present_many(asked), asked, strict=True)))
    except UserError as error:  # a domain that nothing judges, or whose verifier lacks something
        return refusal(GROUP, f"{split} golds", error)
    failed = [problem.id for problem, verdict in zip(asked, verdicts, strict=True) if not verdict.correct]
    what, share = f"{split} golds", 1.0 - len(failed) / max(1, len(asked))
    found = f"{len(asked) - len(failed)} of {len(asked)} verify against themselves"
    if not failed:
        return Finding(GROUP, what, "ok", found)
    return Finding(
        GROUP, what, "wrong" if share < 0.5 else "warning", f"{found}; not so {shown_ids(failed)}",
        "golds that are a final answer alone (a number, an expression, a choice), or without those problems: no "
        "response to them can be rewarded",
    )  # fmt: skip


def _overlap(data: OpenedData) -> list[Finding]:
    """Compare the splits by id and by question, letters' case and spacing apart."""
    findings = []
    names = [name for name in SPLITS if name in data.problems]
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            try:
                refuse_shared(str(data.files[name]), data.problems[name], data.files[other], data.problems[other])
            except ProblemFileError as error:
                findings.append(refusal(GROUP, f"{name} and {other}", error))
    if len(names) > 1 and not findings:
        findings.append(Finding(GROUP, "overlap", "ok", f"{', '.join(names)} share no id and no question"))
    return findings


def _settings(config: RunConfig, params: PipelineParams) -> list[Finding]:
    """Compare settings of recipe and params.yaml that only fail when data were paid for."""
    findings, warmup, share = [], config.warmup.epochs, params.splits.warmup_fraction
    if warmup and not share:
        findings.append(
            Finding(
                GROUP, "warm-up", "wrong", f"warmup.epochs is {warmup} and splits.warmup_fraction 0: there is nothing "
                "to warm up on", "splits.warmup_fraction in params.yaml, such as 0.33, or warmup.epochs=0",
            )
        )  # fmt: skip
    elif share and not warmup:
        found = f"splits.warmup_fraction is {share} and warmup.epochs 0: those problems are used for nothing"
        findings.append(Finding(GROUP, "warm-up", "warning", found, "warmup.epochs, or splits.warmup_fraction=0"))
    asked, trained = params.probe.sampling.max_new_tokens, config.training.sampling.max_new_tokens
    if asked != trained:
        findings.append(
            Finding(
                GROUP, "probe", "wrong" if 2 * asked < trained else "warning",
                f"probe.sampling.max_new_tokens is {asked} and training's {trained}: the probe measures what is cut "
                "elsewhere", f"probe.sampling.max_new_tokens: {trained} in params.yaml, as `sgpo init` writes it",
            )
        )  # fmt: skip
    if params.probe.chat != config.chat:
        findings.append(
            Finding(GROUP, "probe", "wrong", "probe.chat is not the recipe's chat: the probe asks with other prompts",
                    "probe.chat in params.yaml as chat in the recipe")
        )  # fmt: skip
    if params.domains != config.domains:
        findings.append(
            Finding(GROUP, "domains", "wrong", "domains of params.yaml are not the recipe's: responses and probe are "
                    "judged by other verifiers than training", "domains in params.yaml as in the recipe")
        )  # fmt: skip
    return findings


def _power(config: RunConfig, problems: Sequence[Problem]) -> Finding:
    ks = [config.evaluation.k_of(problem.source) for problem in problems]
    shown, found = (gain(ks, config.evaluation.confidence) for gain in (shown_gain, found_gain))
    asked = " + ".join(f"{number} problems x {k} responses" for k, number in sorted(Counter(ks).items()))
    text = (
        f"{asked}: a gain below {100 * shown:.1f} points cannot be shown, one of {100 * found:.1f} is found in 8 of "
        "10 evaluations"
    )
    if shown <= FEW_PROVABLE:
        return Finding(GROUP, "evaluation", "ok", text)
    return Finding(GROUP, "evaluation", "warning", text, "more held-out problems, or a larger evaluation.k")


def check_probe_size(params: PipelineParams, strategies: int) -> list[Finding]:
    """Say where `splits.min_lift` asks about strategies that are not probed; warm-up's share never is."""
    from sgpo.pipeline.splits import check_probed

    to_probe = strategies - round(params.splits.warmup_fraction * strategies)
    try:
        check_probed(params, to_probe, min(to_probe, params.probe.problems))
    except ConfigError as error:
        return [refusal(GROUP, "probe", error)]
    return []
