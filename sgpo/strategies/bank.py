"""The strategy bank: stored strategies by problem, checked when they are loaded."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sgpo.problems.schema import Problem
from sgpo.problems.table import TableError, read_table
from sgpo.strategies.leaks.by_domain import find_domain_leak
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.strategies.teacher.templates import prompts_of_version

HIGH, MEDIUM = 0.8, 0.5
"""Lower bounds of the quality bands [docs/method.md section 2]."""

Band = Literal["high", "medium", "low"]


class StrategyFileError(TableError):
    """A strategy file that cannot be used; the message names file, row, field and what would be right."""


@dataclass(frozen=True, slots=True)
class QualityBands:
    """Shares of strategies by score: high >= 0.8, medium >= 0.5, low below; they sum to 1."""

    high: float
    medium: float
    low: float


def load_strategies(path: Path, problems: Sequence[Problem] | None = None) -> dict[str, Strategy]:
    """Return the strategies of a Parquet file by problem id, in file order.

    With `problems`, every strategy must belong to one of them and must not leak its answer. Raises StrategyFileError,
    with rows counted from 1; also for a file that is not there, or of another schema.
    """
    known = None if problems is None else {problem.id: problem for problem in problems}
    strategies: dict[str, Strategy] = {}
    for row, strategy in enumerate(read_table(path, Strategy, StrategyFileError), start=1):
        where = f"{path} row {row}"
        name = strategy.problem_id
        if name in strategies:
            raise StrategyFileError(f"{where}: problem_id '{name}' occurs twice (expected one strategy per problem)")
        if set(strategy.scores) != set(CRITERIA):
            raise StrategyFileError(f"{where}: scores has the keys {sorted(strategy.scores)} (expected {CRITERIA})")
        if known is not None:
            if name not in known:
                raise StrategyFileError(f"{where}: problem_id '{name}' is not a problem (expected one of {len(known)})")
            if leak := find_domain_leak(strategy, known[name], prompts_of_version(strategy.prompt_version)):
                raise StrategyFileError(f"{where}: strategy {leak.detail} (expected no results; extract it again)")
        strategies[name] = strategy
    return strategies


def band_of(score: float) -> Band:
    """Return the quality band of a score."""
    return "high" if score >= HIGH else "medium" if score >= MEDIUM else "low"


def quality_bands(strategies: Iterable[Strategy]) -> QualityBands:
    """Shares of high, medium and low scores; raises ValueError when there is no strategy."""
    counts = Counter(band_of(strategy.score) for strategy in strategies)
    if not counts:
        raise ValueError("no strategies to grade (expected at least one)")
    total = counts.total()
    return QualityBands(high=counts["high"] / total, medium=counts["medium"] / total, low=counts["low"] / total)
