"""Two models on the same problems: how much better the challenger is, and how sure that is."""

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from sgpo.evaluation.intervals import Estimate, mean_estimate, mean_of_estimates
from sgpo.evaluation.scores import (
    ALL_PROBLEMS,
    MEAN_OF_TIERS,
    EvaluationError,
    Outcome,
    by_tier,
    check_outcomes,
    mean_lenient,
    mean_reward,
    the_k,
)

# One problem's rewards lie in 0..1, so its difference between two models lies here.
_BOUNDS = (-1.0, 1.0)


class Gain(BaseModel):
    """avg@k of both models over some problems, and challenger minus champion; `better` and `worse` count problems.

    `k` is None where the problems have several. `lenient` is the same where any usual form of a final answer counts,
    for a reader to see beside it: None where it was not judged for both models. No decision depends on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int
    k: int | None = None
    champion: float
    challenger: float
    difference: Estimate
    better: int
    worse: int
    lenient: "Gain | None" = None


class Comparison(BaseModel):
    """A paired comparison. `k` is None where tiers have several, `macro` the mean of the tiers' differences.

    `p_value` is two-sided, of the paired permutation test over problems: how often a mean difference at least as large
    would come from swapping the two models' results at random within problems.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int | None
    confidence: float
    overall: Gain
    tiers: dict[str, Gain]
    macro: Estimate
    p_value: float

    @property
    def mean_of_tiers(self) -> Gain:
        """Both models' plain mean over the tiers, as the paper averages benchmarks; its difference is `macro`."""
        tiers = list(self.tiers.values())
        mean = _mean_of_gains(tiers, self.overall, self.macro)
        lenient = [tier.lenient for tier in tiers if tier.lenient is not None]
        if self.overall.lenient is None or len(lenient) < len(tiers):
            return mean.model_copy(update={"lenient": None})
        macro = mean_of_estimates(tier.difference for tier in lenient)
        return mean.model_copy(update={"lenient": _mean_of_gains(lenient, self.overall.lenient, macro)})

    def k_of(self, tier: str) -> int:
        """Return the responses per problem of a tier; comparisons of older versions have one k for all."""
        k = self.tiers[tier].k or self.k
        assert k is not None
        return k

    @property
    def name_of_average(self) -> str:
        """`avg@4`; where tiers have several k, `avg@k` with what it is for each."""
        if self.k is not None:
            return f"avg@{self.k}"
        return f"avg@k (k: {', '.join(f'{name} {self.k_of(name)}' for name in self.tiers)})"

    def rows(self) -> list[tuple[str, Gain]]:
        """Return what a table of it has, by name: the tiers, their mean where there are several, and all problems."""
        mean = [(MEAN_OF_TIERS, self.mean_of_tiers)] if len(self.tiers) > 1 else []
        return [*self.tiers.items(), *mean, (ALL_PROBLEMS, self.overall)]


def compare(
    champion_outcomes: Sequence[Outcome],
    challenger_outcomes: Sequence[Outcome],
    confidence: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Compare two models that answered the same problems k times each; the order of the rows does not matter.

    The interval is of the mean of the per-problem differences: that is what pairing means, and it is narrower than two
    separate intervals because a hard problem is hard for both. Raises EvaluationError naming the first difference when
    the problems, their tiers or k are not the same.
    """
    ks = check_outcomes(champion_outcomes, "champion")
    challengers_ks = check_outcomes(challenger_outcomes, "challenger")
    challenger_of = {outcome.problem_id: outcome for outcome in challenger_outcomes}
    _check_same_problems(champion_outcomes, challenger_outcomes)
    for tier, k in ks.items():
        if k != challengers_ks[tier]:
            raise EvaluationError(
                f"champion has {k} rewards per problem, challenger {challengers_ks[tier]} in tier '{tier}' (expected "
                "the same k)"
            )
    lenient = all(outcome.lenient is not None for outcome in (*champion_outcomes, *challenger_outcomes))

    def gain(group: Sequence[Outcome], of: Callable[[Outcome], float] = mean_reward) -> Gain:
        champion = np.array([of(outcome) for outcome in group])
        challenger = np.array([of(challenger_of[outcome.problem_id]) for outcome in group])
        difference = challenger - champion
        return Gain(
            problems=len(group),
            k=the_k({outcome.tier: len(outcome.rewards) for outcome in group}),
            champion=float(champion.mean()),
            challenger=float(challenger.mean()),
            difference=mean_estimate(difference, _BOUNDS, confidence, resamples, seed),
            better=int((difference > 0).sum()),
            worse=int((difference < 0).sum()),
            lenient=gain(group, mean_lenient) if lenient and of is mean_reward else None,
        )

    tiers = {name: gain(group) for name, group in by_tier(champion_outcomes).items()}
    differences = [mean_reward(challenger_of[row.problem_id]) - mean_reward(row) for row in champion_outcomes]
    return Comparison(
        k=the_k(ks),
        confidence=confidence,
        overall=gain(champion_outcomes),
        tiers=tiers,
        macro=mean_of_estimates(tier.difference for tier in tiers.values()),
        p_value=_permutation_p_value(np.array(differences), resamples, seed),
    )


def _mean_of_gains(tiers: Sequence[Gain], overall: Gain, macro: Estimate) -> Gain:
    means = {name: sum(getattr(tier, name) for tier in tiers) / len(tiers) for name in ("champion", "challenger")}
    return overall.model_copy(update={**means, "difference": macro})


def _permutation_p_value(differences: np.ndarray, resamples: int, seed: int) -> float:
    """Two-sided p of the mean of paired differences, [problems]: swapping two results turns a difference's sign."""
    from scipy import stats

    rng = np.random.default_rng(seed)

    def swapped(size: tuple[int, ...]) -> np.ndarray:
        return np.where(rng.integers(0, 2, size, dtype=np.int8), differences, -differences)

    # As scipy's permutation_test on one sample draws it, which takes seven times as long at a thousand problems.
    result = stats.monte_carlo_test(
        differences,
        swapped,
        np.mean,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // differences.size),
    )
    return float(result.pvalue)


def _check_same_problems(champion: Sequence[Outcome], challenger: Sequence[Outcome]) -> None:
    for owner, rows, other, other_rows in (
        ("champion", champion, "challenger", challenger),
        ("challenger", challenger, "champion", champion),
    ):
        tier_of = {outcome.problem_id: outcome.tier for outcome in other_rows}
        for row, outcome in enumerate(rows, start=1):
            where = f"{owner} row {row}: problem '{outcome.problem_id}'"
            if outcome.problem_id not in tier_of:
                raise EvaluationError(f"{where} is not among the {other}'s (expected the same problems for both)")
            if outcome.tier != tier_of[outcome.problem_id]:
                raise EvaluationError(
                    f"{where} is in tier '{outcome.tier}' but in '{tier_of[outcome.problem_id]}' for the {other}"
                )
