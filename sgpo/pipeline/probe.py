"""What the strategies are worth to the champion: pass rates without and with, and the lift, with 95 % intervals.

For each tier the interval is over problems, for each problem over its rollouts.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sgpo.config.pipeline import ProbeConfig
from sgpo.evaluation.intervals import Estimate, mean_estimate
from sgpo.pipeline.splits import ProbedProblem
from sgpo.problems.readers import read_problems
from sgpo.problems.table import read_table
from sgpo.problems.tiers import tiers_of

CONFIDENCE = 0.95
RESAMPLES = 2000
ALL = "all"


class StrategyLift(BaseModel):
    """Pass rate without (`autonomous`) and with strategy (`guided`), and the difference; `name` is a tier or problem.

    Intervals of one problem are Wilson's, and Newcombe's for the lift, whose `method` is therefore `mover`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    problems: int
    autonomous: Estimate
    guided: Estimate
    lift: Estimate


def lift_of_tiers(data: Path, settings: ProbeConfig) -> list[StrategyLift]:
    """One row per tier, by name, and one for `all`, of data/probe.parquet.

    Tiers are those of `tiers_of` among the training problems. The lift's interval is of the paired differences,
    because a hard problem is hard with and without a strategy.
    """
    tier_of = tiers_of(read_problems(data / "problems" / "train.parquet"))
    rows = read_table(data / "probe.parquet", ProbedProblem)
    tiers: dict[str, list[ProbedProblem]] = {}
    for row in rows:
        tiers.setdefault(tier_of[row.problem_id], []).append(row)
    return [_of_problems(name, group, settings.seed) for name, group in [*sorted(tiers.items()), (ALL, rows)]]


def lift_of_problems(data: Path, settings: ProbeConfig) -> list[StrategyLift]:
    """One row per probed problem, the largest lift first."""
    rows = sorted(read_table(data / "probe.parquet", ProbedProblem), key=lambda row: (-row.lift, row.problem_id))
    return [_of_rollouts(row, settings) for row in rows]


def _of_problems(name: str, rows: Sequence[ProbedProblem], seed: int) -> StrategyLift:
    def estimate(values: Sequence[float], lowest: float) -> Estimate:
        return mean_estimate(values, (lowest, 1.0), CONFIDENCE, RESAMPLES, seed)

    return StrategyLift(
        name=name,
        problems=len(rows),
        autonomous=estimate([row.autonomous for row in rows], 0.0),
        guided=estimate([row.guided for row in rows], 0.0),
        lift=estimate([row.lift for row in rows], -1.0),
    )


def _of_rollouts(row: ProbedProblem, settings: ProbeConfig) -> StrategyLift:
    without = _proportion(row.autonomous, settings.autonomous_rollouts)
    guided = _proportion(row.guided, settings.guided_rollouts)
    below = ((guided.value - guided.low) ** 2 + (without.high - without.value) ** 2) ** 0.5
    above = ((guided.high - guided.value) ** 2 + (without.value - without.low) ** 2) ** 0.5
    # Newcombe, Statistics in Medicine 1998, method 10: MOVER on two Wilson intervals.
    lift = Estimate(value=row.lift, low=row.lift - below, high=row.lift + above, method="mover")
    return StrategyLift(name=row.problem_id, problems=1, autonomous=without, guided=guided, lift=lift)


def _proportion(rate: float, rollouts: int) -> Estimate:
    from scipy import stats  # a second of imports, which training and flows do without

    interval = stats.binomtest(round(rate * rollouts), rollouts).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(value=rate, low=float(interval.low), high=float(interval.high), method="exact")
