"""One model's scores: avg@k and pass@k per tier and on average, each with its interval over problems."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from sgpo.errors import UserError
from sgpo.evaluation.intervals import Estimate, mean_estimate, mean_of_estimates

MEAN_OF_TIERS, ALL_PROBLEMS = "mean of tiers", "all problems"
"""Names of what tables show beside the tiers: the macro mean, and the pooled one."""


class EvaluationError(UserError, ValueError):
    """Outcomes that cannot be scored or compared; the message names the row or the problem."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The k rewards of one problem, each within 0..1; a reward of 1 is a solved response.

    `tier` is what results are broken down by: a benchmark's name, or a level of difficulty.
    """

    problem_id: str
    tier: str
    rewards: tuple[float, ...]


class TierScore(BaseModel):
    """Scores over the problems of one tier, or of all. `pass_at` maps j to pass@j: the powers of two below k, and k."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int
    avg_at_k: Estimate
    pass_at: dict[int, Estimate]


class Scores(BaseModel):
    """`overall` is the plain mean over problems; `macro` the plain mean of the tiers, as the paper averages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int
    confidence: float
    overall: TierScore
    tiers: dict[str, TierScore]
    macro: TierScore

    def rows(self) -> list[tuple[str, TierScore]]:
        """Return what a table of it has, by name: the tiers, their mean where there are several, and all problems."""
        mean = [(MEAN_OF_TIERS, self.macro)] if len(self.tiers) > 1 else []
        return [*self.tiers.items(), *mean, (ALL_PROBLEMS, self.overall)]


def pass_at(solved: int, k: int, j: int) -> float:
    """Unbiased estimate of the chance that at least one of j responses is right, from `solved` right ones of k drawn.

    1 - C(k - solved, j) / C(k, j) (Chen et al. 2021, arXiv 2107.03374, Eq. 1): the share of the j-subsets of the k
    responses that hold a right one. Raises ValueError unless 0 <= solved <= k and 1 <= j <= k.
    """
    if not (0 <= solved <= k and 1 <= j <= k):
        raise ValueError(f"pass@{j} of {solved} solved in {k} responses (expected 0 <= solved <= k and 1 <= j <= k)")
    return 1.0 - math.comb(k - solved, j) / math.comb(k, j)


def score(outcomes: Sequence[Outcome], confidence: float, resamples: int, seed: int) -> Scores:
    """avg@k and pass@j of a model, overall, per tier (in the order of their names) and as the mean of the tiers.

    Raises EvaluationError on no outcomes, unequal k, a problem given twice, or a reward outside 0..1.
    """
    k = check_outcomes(outcomes, "outcomes")
    sizes = subset_sizes(k)
    tiers = {
        name: score_together(group, sizes, confidence, resamples, seed) for name, group in by_tier(outcomes).items()
    }
    macro = TierScore(
        problems=len(outcomes),
        avg_at_k=mean_of_estimates(tier.avg_at_k for tier in tiers.values()),
        pass_at={j: mean_of_estimates(tier.pass_at[j] for tier in tiers.values()) for j in sizes},
    )
    overall = score_together(outcomes, sizes, confidence, resamples, seed)
    return Scores(k=k, confidence=confidence, overall=overall, tiers=tiers, macro=macro)


def score_together(
    outcomes: Sequence[Outcome], sizes: Sequence[int], confidence: float, resamples: int, seed: int
) -> TierScore:
    """avg@k, and pass@j for each j of `sizes`, over all outcomes, whatever their tiers.

    Raises EvaluationError as `score` does.
    """
    k = check_outcomes(outcomes, "outcomes")

    def estimate(per_problem: Callable[[Outcome], float]) -> Estimate:
        return mean_estimate([per_problem(outcome) for outcome in outcomes], (0.0, 1.0), confidence, resamples, seed)

    return TierScore(
        problems=len(outcomes),
        avg_at_k=estimate(mean_reward),
        pass_at={j: estimate(lambda outcome, j=j: pass_at(_solved(outcome), k, j)) for j in sizes},
    )


def subset_sizes(k: int) -> list[int]:
    """Return the j for which pass@j is given: the powers of two below k, and k."""
    return [2**power for power in range((k - 1).bit_length())] + [k]


def mean_reward(outcome: Outcome) -> float:
    """avg@k of one problem."""
    return math.fsum(outcome.rewards) / len(outcome.rewards)


def by_tier(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of each tier, tiers in the order of their names."""
    tiers: dict[str, list[Outcome]] = {name: [] for name in sorted({outcome.tier for outcome in outcomes})}
    for outcome in outcomes:
        tiers[outcome.tier].append(outcome)
    return tiers


def check_outcomes(outcomes: Sequence[Outcome], whose: str) -> int:
    """k, when all rows have the same and can be scored; otherwise EvaluationError naming `whose` row and why."""
    if not outcomes:
        raise EvaluationError(f"{whose}: no problems (expected at least one)")
    k = len(outcomes[0].rewards)
    seen: set[str] = set()
    for row, outcome in enumerate(outcomes, start=1):
        where = f"{whose} row {row}: problem '{outcome.problem_id}'"
        if not outcome.rewards or len(outcome.rewards) != k:
            raise EvaluationError(f"{where} has {len(outcome.rewards)} rewards (expected {max(k, 1)}, as in row 1)")
        if outcome.problem_id in seen:
            raise EvaluationError(f"{where} is there twice (expected one row per problem)")
        for reward in outcome.rewards:
            if not 0.0 <= reward <= 1.0:
                raise EvaluationError(f"{where} has the reward {reward} (expected 0 to 1)")
        seen.add(outcome.problem_id)
    return k


def _solved(outcome: Outcome) -> int:
    return sum(reward == 1.0 for reward in outcome.rewards)
