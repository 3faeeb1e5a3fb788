"""Uninformative problems, and the further ones that are drawn in their place [DAPO, 2503.14476]."""

from collections.abc import Callable, Sequence

from sgpo.algorithms.base import Algorithm
from sgpo.problems import Problem
from sgpo.rollouts.schema import ProblemSamples
from sgpo.rollouts.seeds import derive_seed
from sgpo.training.order import items_of_step
from sgpo.training.world import World

Draw = Callable[[list[Problem]], list[ProblemSamples]]


class Refill:
    """Replaces problems of a sampled batch, at most `rounds` times.

    Which problems come in is a function of the seed, the step and what was sampled: the order of the steps' own
    problems is what it is without, a resumed run draws the same, and so does one on another number of processes. There
    is an end: after the last round, or when the step's further problems are used up, uninformative problems stay.
    """

    def __init__(
        self, algorithm: Algorithm, problems: Sequence[Problem], per_step: int, rounds: int, seed: int, world: World
    ) -> None:
        """Take the method, which says what is informative, and all problems that may come in."""
        self._algorithm, self._problems, self._world = algorithm, problems, world
        self._per_step, self._rounds = per_step, rounds
        self._seed = derive_seed(seed, 0, "", "refill", 0)

    def further(self, step: int, chosen: Sequence[Problem]) -> list[Problem]:
        """Return the problems that may come in at `step`, in their order: none of those it has, none twice."""
        drawn = items_of_step(self._problems, self._per_step * self._rounds, self._seed, step) if self._rounds else []
        known = {problem.id for problem in chosen}
        return list({problem.id: problem for problem in drawn if problem.id not in known}.values())

    def fill(
        self, step: int, chosen: list[Problem], samples: list[ProblemSamples], draw: Draw
    ) -> tuple[list[Problem], list[ProblemSamples], dict[str, float]]:
        """Return the step's problems, this process's samples, and what came of it; collective.

        `chosen` are the problems of all processes and `samples` those of this process's shard; a problem that comes in
        is drawn by the process whose place it takes.
        """
        chosen, samples, further = list(chosen), list(samples), iter(self.further(step, chosen))
        counts = {"refill/all_right": 0.0, "refill/all_wrong": 0.0}
        dropped = 0
        uninformative = self._uninformative(samples, len(chosen))
        for _ in range(self._rounds):
            taken = dict(zip(uninformative, further, strict=False))
            if not taken:
                break
            for place, problem in taken.items():
                counts[uninformative[place]] += 1.0
                chosen[place] = problem
            mine = [place for place in taken if place % self._world.size == self._world.rank]
            for place, new in zip(mine, draw([taken[place] for place in mine]), strict=True):
                dropped += _tokens(samples[place // self._world.size])
                samples[place // self._world.size] = new
            uninformative = self._uninformative(samples, len(chosen))
        counts |= {"refill/left": float(len(uninformative)), **self._world.sum({"refill/tokens": float(dropped)})}
        return chosen, samples, counts

    def _uninformative(self, samples: Sequence[ProblemSamples], problems: int) -> dict[int, str]:
        """Return the places, over all processes, of the uninformative groups, and why; collective."""
        codes = {str(place): 0.0 for place in range(problems)}
        for place, problem in zip(self._world.shard(range(problems)), samples, strict=True):
            if not self._algorithm.is_informative(problem):
                codes[str(place)] = 1.0 if problem.pass_rate("autonomous") > 0.0 else 2.0
        summed = self._world.sum(codes)
        return {
            place: "refill/all_right" if summed[str(place)] == 1.0 else "refill/all_wrong"
            for place in range(problems)
            if summed[str(place)]
        }


def _tokens(problem: ProblemSamples) -> int:
    return sum(len(rollout.token_ids) for rollout in (*problem.autonomous, *problem.guided))
