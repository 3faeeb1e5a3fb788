"""One model's scores: avg@k and pass@k per tier and on average, each with its interval over problems."""

import math
from collections.abc import Callable, Mapping, Sequence
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

    `tier` is what results are broken down by: a benchmark's name, or a level of difficulty. `lenient` has the k rewards
    where any usual form of a final answer counts (docs/verifier.md), None where they were not judged so.
    """

    problem_id: str
    tier: str
    rewards: tuple[float, ...]
    lenient: tuple[float, ...] | None = None


class TierScore(BaseModel):
    """Scores over the problems of one tier, or of all. `pass_at` maps j to pass@j: the powers of two below k, and k.

    Where tiers have several k, `k` of all of them is None, and j goes up to the smallest. `lenient` is avg@k where any
    usual form of a final answer counts, None where an outcome has no lenient rewards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int
    k: int | None
    avg_at_k: Estimate
    pass_at: dict[int, Estimate]
    lenient: Estimate | None = None


class Scores(BaseModel):
    """`overall` is the plain mean over problems; `macro` the plain mean of the tiers, as the paper averages.

    `k` is None where the tiers have several; each tier has its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int | None
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

    Raises EvaluationError on no outcomes, unequal k in a tier, a problem given twice, or a reward outside 0..1.
    """
    ks = check_outcomes(outcomes, "outcomes")
    common = min(ks.values())
    tiers = {
        name: score_together(group, subset_sizes(ks[name]), confidence, resamples, seed)
        for name, group in by_tier(outcomes).items()
    }
    sizes = [j for j in subset_sizes(common) if all(j in tier.pass_at for tier in tiers.values())]
    macro = TierScore(
        problems=len(outcomes),
        k=the_k(ks),
        avg_at_k=mean_of_estimates(tier.avg_at_k for tier in tiers.values()),
        pass_at={j: mean_of_estimates(tier.pass_at[j] for tier in tiers.values()) for j in sizes},
        lenient=_mean_of_all([tier.lenient for tier in tiers.values()]),
    )
    overall = score_together(outcomes, sizes, confidence, resamples, seed)
    return Scores(k=the_k(ks), confidence=confidence, overall=overall, tiers=tiers, macro=macro)


def score_together(
    outcomes: Sequence[Outcome], sizes: Sequence[int], confidence: float, resamples: int, seed: int
) -> TierScore:
    """avg@k, and pass@j for each j of `sizes`, over all outcomes, whatever their tiers.

    Raises EvaluationError as `score` does.
    """
    ks = check_outcomes(outcomes, "outcomes")

    def estimate(per_problem: Callable[[Outcome], float]) -> Estimate:
        return mean_estimate([per_problem(outcome) for outcome in outcomes], (0.0, 1.0), confidence, resamples, seed)

    return TierScore(
        problems=len(outcomes),
        k=the_k(ks),
        avg_at_k=estimate(mean_reward),
        pass_at={j: estimate(lambda outcome, j=j: pass_at(_solved(outcome), len(outcome.rewards), j)) for j in sizes},
        lenient=estimate(mean_lenient) if all(outcome.lenient is not None for outcome in outcomes) else None,
    )


def subset_sizes(k: int) -> list[int]:
    """Return the j for which pass@j is given: the powers of two below k, and k."""
    return [2**power for power in range((k - 1).bit_length())] + [k]


def mean_reward(outcome: Outcome) -> float:
    """avg@k of one problem."""
    return math.fsum(outcome.rewards) / len(outcome.rewards)


def mean_lenient(outcome: Outcome) -> float:
    """avg@k of one problem by the lenient rewards, which it has."""
    assert outcome.lenient is not None
    return math.fsum(outcome.lenient) / len(outcome.lenient)


def the_k(ks: Mapping[str, int]) -> int | None:
    """Return the k of all tiers, None where they have several."""
    return next(iter(ks.values())) if len(set(ks.values())) == 1 else None


def by_tier(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Return the outcomes of each tier, tiers in the order of their names."""
    tiers: dict[str, list[Outcome]] = {name: [] for name in sorted({outcome.tier for outcome in outcomes})}
    for outcome in outcomes:
        tiers[outcome.tier].append(outcome)
    return tiers


def check_outcomes(outcomes: Sequence[Outcome], whose: str) -> dict[str, int]:
    """Return k by tier, where all rows can be scored and those of a tier have the same; else EvaluationError by row."""
    if not outcomes:
        raise EvaluationError(f"{whose}: no problems (expected at least one)")
    first: dict[str, tuple[int, int]] = {}  # tier -> row, k
    seen: set[str] = set()
    for row, outcome in enumerate(outcomes, start=1):
        where = f"{whose} row {row}: problem '{outcome.problem_id}'"
        as_in, k = first.setdefault(outcome.tier, (row, len(outcome.rewards)))
        if not outcome.rewards or len(outcome.rewards) != k:
            raise EvaluationError(
                f"{where} has {len(outcome.rewards)} rewards (expected {max(k, 1)}, as in row {as_in})"
            )
        if outcome.lenient is not None and len(outcome.lenient) != k:
            raise EvaluationError(
                f"{where} has {len(outcome.lenient)} lenient rewards (expected {k}, as many as strict)"
            )
        if outcome.problem_id in seen:
            raise EvaluationError(f"{where} is there twice (expected one row per problem)")
        for reward in (*outcome.rewards, *(outcome.lenient or ())):
            if not 0.0 <= reward <= 1.0:
                raise EvaluationError(f"{where} has the reward {reward} (expected 0 to 1)")
        seen.add(outcome.problem_id)
    return {tier: k for tier, (_, k) in first.items()}


def _mean_of_all(estimates: Sequence[Estimate | None]) -> Estimate | None:
    known = [estimate for estimate in estimates if estimate is not None]
    return mean_of_estimates(known) if len(known) == len(estimates) else None


def _solved(outcome: Outcome) -> int:
    return sum(reward == 1.0 for reward in outcome.rewards)
