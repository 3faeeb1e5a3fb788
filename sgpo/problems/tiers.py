"""What results are broken down by."""

from collections.abc import Sequence

from sgpo.config.evaluation import UNNAMED
from sgpo.problems.schema import Problem


def tiers_of(problems: Sequence[Problem]) -> dict[str, str]:
    """Return the tier of each problem by id: the data set when they come from several, else the difficulty.

    A benchmark with levels of its own stays one tier beside other benchmarks, so that the mean of tiers is the mean of
    benchmarks. Without a level the tier is the data set's name.
    """
    several = len({problem.source for problem in problems}) > 1
    return {
        problem.id: problem.source or UNNAMED if several or problem.difficulty is None else f"tier {problem.difficulty}"
        for problem in problems
    }
