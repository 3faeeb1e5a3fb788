"""The strategies: whose they are, whether one gives its solution away, and whether prompts with them fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sgpo.algorithms import registry
from sgpo.checks.finding import Finding, refusal, shown_ids
from sgpo.checks.model import OpenedModel
from sgpo.config import RunConfig
from sgpo.config.domains import Prompts
from sgpo.config.pipeline import PipelineParams
from sgpo.errors import UserError
from sgpo.problems import Problem
from sgpo.problems.domains.registry import DomainError, prompts_of
from sgpo.rollouts.lengths import positions_of, too_long
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.leaks.by_domain import find_domain_leak
from sgpo.strategies.schema import Strategy

GROUP = "strategies"
FEW = 0.5
"""Below this share of problems with a strategy a warning is given."""


def check_strategies(
    config: RunConfig, params: PipelineParams | None, problems: Sequence[Problem], expected: bool
) -> tuple[list[Finding], dict[str, str]]:
    """Return what is found about the strategies, and their texts by problem id.

    Before the first extraction there are none; they are missing only where they are `expected`.
    """
    file = config.data / "strategies.parquet"
    if not file.is_file() and not expected:
        return [Finding(GROUP, "bank", "skipped", f"{file}: not made yet; its prompts and leaks are not looked at")], {}
    try:
        bank = load_strategies(file)
    except UserError as error:
        return [refusal(GROUP, "bank", error)], {}
    texts = {name: strategy.text() for name, strategy in bank.items()}
    findings = [_owners(config, bank, problems), _leaks(config, bank, problems)]
    if params is not None:
        from sgpo.checks.data import check_probe_size

        findings += check_probe_size(params, sum(problem.id in bank for problem in problems))
    return findings, texts


def _owners(config: RunConfig, bank: Mapping[str, Strategy], problems: Sequence[Problem]) -> Finding:
    known = {problem.id for problem in problems}
    strangers = [name for name in bank if name not in known]
    having = len(bank) - len(strangers)
    found = f"{having} of {len(known)} training problems have one"
    if not having and "strategies" in registry.method(config.training.algorithm.type).needs:
        return Finding(GROUP, "bank", "wrong", found, "`dvc repro strategies`, of the problems that are there now")
    if strangers and having + len(strangers) > len(known):
        return Finding(
            GROUP, "bank", "wrong", f"{found}; {len(strangers)} are of no problem: {shown_ids(strangers)}",
            "`dvc repro strategies`: the bank is of other problems",
        )  # fmt: skip
    if having < FEW * len(known):
        return Finding(
            GROUP, "bank", "warning", found, "what was refused, and why, is in data/strategies_refused.jsonl; a "
            "stronger teacher, or more strategies.candidates",
        )  # fmt: skip
    return Finding(GROUP, "bank", "ok", found)


def _leaks(config: RunConfig, bank: Mapping[str, Strategy], problems: Sequence[Problem]) -> Finding:
    known = {problem.id: problem for problem in problems}
    try:
        names = {problem.domain for problem in problems}
        prompts: dict[str, Prompts] = {name: prompts_of(name, config.domains) for name in names}
    except DomainError as error:
        return refusal(GROUP, "leaks", error)
    leaking = {
        name: leak.detail
        for name, strategy in bank.items()
        if name in known and (leak := find_domain_leak(strategy, known[name], prompts[known[name].domain])) is not None
    }
    if not leaking:
        return Finding(GROUP, "leaks", "ok", "none gives its answer or a result away")
    name, detail = next(iter(leaking.items()))
    return Finding(
        GROUP, "leaks", "wrong", f"{len(leaking)} give the solution away: {shown_ids(list(leaking))}; '{name}' "
        f"{detail}",
        "`dvc repro strategies`, or without those rows: the probe and the gain with strategies would be of the leak",
    )  # fmt: skip


def check_lengths(
    config: RunConfig, opened: OpenedModel, texts: Mapping[str, str], splits: Mapping[str, Sequence[Problem]]
) -> list[Finding]:
    """Return whether every prompt, with its strategy, and a longest response fit the model's positions."""
    training, evaluation = config.training, config.evaluation
    cases = (
        ("train", "training", config.engine, training.sampling.max_new_tokens, texts),
        ("held_out", "evaluation", evaluation.engine or config.engine, evaluation.sampling.max_new_tokens, {}),
    )
    findings = []
    for split, room, engine, most, strategies in cases:
        problems = splits.get(split, ())
        if not problems:
            continue
        positions = positions_of(opened.folder, engine)
        found = too_long(problems, opened.chat, strategies, most, positions)
        what = f"{split} prompts"
        if not found:
            longest = _longest(opened, problems, strategies)
            text = (
                f"the longest is {longest:,} tokens, with {room}.sampling.max_new_tokens {most:,} within {positions:,}"
            )
            findings.append(Finding("strategies" if strategies else "data", what, "ok", text))
            continue
        allowed = split == "train" and training.leave_out_too_long and len(found) < len(problems)
        findings.append(
            Finding(
                "strategies" if strategies else "data", what, "warning" if allowed else "wrong",
                f"{len(found)} of {len(problems)} with a response of {most:,} tokens exceed {positions:,} positions: "
                f"{shown_ids(list(found))}",
                "" if allowed else f"a smaller {room}.sampling.max_new_tokens, a model with more positions"
                + (", or training.leave_out_too_long=true" if split == "train" else ""),
            )
        )  # fmt: skip
    return findings


def _longest(opened: OpenedModel, problems: Sequence[Problem], strategies: Mapping[str, str]) -> int:
    """Return the tokens of the longest prompt, looked for among those with the most characters."""
    by_text = sorted(problems, key=lambda problem: -len(problem.question + strategies.get(problem.id, "")))
    return max(len(opened.chat.build(problem.question, strategies.get(problem.id))) for problem in by_text[:16])
