"""What the commands show, as JSON objects for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sgpo.problems.schema import Problem
from sgpo.strategies.bank import band_of
from sgpo.strategies.refusals import RefusedText
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.comparison import VersionDiff
from sgpo.strategies.view.families import Family, family_by_problem
from sgpo.strategies.view.listing import find_problem
from sgpo.strategies.view.report import BankReport
from sgpo.strategies.view.retrieval import Match


def strategy_record(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy with its quality band."""
    return {**strategy.model_dump(mode="json"), "band": band_of(strategy.score)}


def family_record(family: Family) -> dict[str, Any]:
    """Return a family with the ids of its problems."""
    return asdict(family)


def problem_record(
    problem_id: str, problems: Sequence[Problem], strategies: Mapping[str, Strategy], families: Sequence[Family],
    refusals: Iterable[RefusedText],
) -> dict[str, Any]:  # fmt: skip
    """Return all that is known of one problem's strategy, as `show` tells it: null where there is none.

    Raises ListingError where the beginning of an id names no problem, or several.
    """
    problem = find_problem(problem_id, problems)
    strategy, family = strategies.get(problem.id), family_by_problem(families).get(problem.id)
    return {
        "problem": problem.model_dump(mode="json"),
        "strategy": None if strategy is None else strategy_record(strategy),
        "family": None if family is None else {"id": family.id, "members": family.members},
        "refused": [refusal.model_dump(mode="json") for refusal in refusals if refusal.problem_id == problem.id],
    }


def diff_record(diff: VersionDiff) -> dict[str, Any]:
    """Return the difference of two versions: ids, and both strategies where one was changed."""
    changed = [
        {
            "problem_id": change.problem_id,
            "fields": change.fields,
            "old": strategy_record(change.old),
            "new": strategy_record(change.new),
        }
        for change in diff.changed
    ]
    return {"added": diff.added, "removed": diff.removed, "changed": changed, "unchanged": diff.unchanged}


def match_record(match: Match) -> dict[str, Any]:
    """Return a strategy that was retrieved, and how similar its problems' questions are."""
    return {"similarity": float(match.similarity), **strategy_record(match.strategy)}


def bank_record(report: BankReport) -> dict[str, Any]:
    """Return the figures of a quality report: without examples, and of the families only their number."""
    return {
        "source": report.source, "teachers": report.teachers, "strategies": len(report.scores),
        "bands": asdict(report.bands), "criteria": report.criteria,
        "refusals": [asdict(count) for count in report.refusals],
        "unserved": [asdict(count) for count in report.unserved],
        "families": len(report.families), "reused": report.reused,
    }  # fmt: skip
