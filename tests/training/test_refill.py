"""Groups that tell nothing are replaced by further problems: the same on every number of processes, and with an end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
import torch
from samples import HashVerifier
from test_loop import SMALL, Interrupted, Recorder, run

from sgpo.algorithms import registry
from sgpo.config import ConfigError, TrainingConfig, load_config
from sgpo.problems import Problem, Verdict
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.refill import Refill
from sgpo.training.world import World

PROBLEMS = [Problem(id=f"p{number}", question=f"What is {number}?", answer=str(number)) for number in range(40)]
GRPO = registry.build(TrainingConfig(algorithm={"type": "grpo"}), 0)


def group(problem: Problem, rewards: list[float], guided: tuple[float, ...] = ()) -> ProblemSamples:
    def rollouts(name, values):
        return tuple(Rollout(problem.id, name, (7, 8, 9), (-1.0,) * 3, "", "stop", value, 0, 0) for value in values)

    return ProblemSamples(problem.id, (1,), (2,), rollouts("autonomous", rewards), rollouts("guided", guided))


def kind(problem: Problem) -> int:
    return int(problem.id[1:]) % 3


def draw(problems: list[Problem]) -> list[ProblemSamples]:
    """A third of the problems is solved always, a third never, a third sometimes."""
    return [group(problem, [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]][kind(problem)]) for problem in problems]


@dataclass
class Meeting:
    """Sums over threads that stand for processes."""

    size: int
    values: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        self.values.append(values)
        self.barrier.wait(10)
        total = {name: sum(one[name] for one in self.values) for name in values}
        if self.barrier.wait(10) == 0:
            self.values.clear()
        self.barrier.wait(10)
        return total


class Threads(World):
    """A world whose sums are a meeting's."""

    meeting: Meeting

    def sum(self, values):
        return self.meeting.sum(values)


def filled(size: int, rounds: int, step: int = 2, draw=draw) -> tuple[list[str], list[ProblemSamples], dict]:
    """Problems, samples in their order, and counts, as `size` processes make them."""
    meeting, found = Meeting(size), {}
    chosen = PROBLEMS[:9]

    def one(rank: int) -> None:
        world = Threads(rank, size, torch.device("cpu"))
        object.__setattr__(world, "meeting", meeting)
        refill = Refill(GRPO, PROBLEMS, len(chosen), rounds, 5, world)
        found[rank] = refill.fill(step, chosen, draw(world.shard(chosen)), draw)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    problems, _, counts = found[0]
    assert all(found[rank][0] == problems and found[rank][2] == counts for rank in found)
    samples = [found[place % size][1][place // size] for place in range(len(problems))]
    assert [one.problem_id for one in samples] == [problem.id for problem in problems]
    return [problem.id for problem in problems], samples, counts


@pytest.mark.parametrize("size", [2, 4])
def test_the_same_problems_come_in_whatever_the_number_of_processes(size):
    alone = filled(1, 2)
    assert filled(size, 2) == alone


def test_what_tells_stays_in_its_place_and_nothing_comes_twice():
    names, samples, counts = filled(1, 3)
    for place, problem in enumerate(PROBLEMS[:9]):
        assert (names[place] == problem.id) == (kind(problem) == 2)
    assert len(set(names)) == 9
    assert counts["refill/left"] == sum(not GRPO.is_informative(one) for one in samples)
    assert counts["refill/left"] < 6
    replaced = counts["refill/all_right"] + counts["refill/all_wrong"]
    assert replaced >= 6
    assert counts["refill/tokens"] == 6 * replaced
    assert filled(1, 3, step=3)[0] != names


def test_with_nothing_to_learn_anywhere_there_is_an_end():
    asked = []

    def never(problems):
        asked.append([problem.id for problem in problems])
        return [group(problem, [0.0, 0.0]) for problem in problems]

    _, _, counts = filled(1, 16, draw=never)
    further = [name for names in asked[1:] for name in names]
    assert len(further) == len(set(further)) == 31, "each of the other problems once"
    assert counts == {"refill/all_right": 0.0, "refill/all_wrong": 31.0, "refill/left": 9.0, "refill/tokens": 31 * 6.0}


def is_informative(settings: dict, rewards: list[float], guided: tuple[float, ...] = ()) -> bool:
    return registry.build(TrainingConfig(algorithm=settings), 0).is_informative(group(PROBLEMS[0], rewards, guided))


NO_ALPHA = {"alpha0": 0.0}


@pytest.mark.parametrize(
    ("settings", "rewards", "guided", "informative"),
    [
        ({"type": "grpo"}, [1.0, 0.0], (), True), ({"type": "grpo"}, [0.0, 0.0], (), False),
        ({}, [0.0, 0.0], (1.0, 0.0), True), ({}, [0.0, 0.0], (0.0, 0.0), False), ({}, [1.0] * 8, (0.0, 0.0), False),
        ({}, [1.0, 0.0], (0.0, 0.0), True), ({"grpo": False}, [1.0, 0.0], (0.0, 0.0), False),
        (NO_ALPHA, [1.0, 1.0], (1.0, 0.0), False), ({**NO_ALPHA, "train_guide": True}, [1.0, 1.0], (1.0, 0.0), True),
        ({"type": "luffy"}, [0.0, 0.0], (), True), ({"type": "luffy"}, [1.0, 1.0], (), False),
        ({"type": "hpt"}, [0.0, 0.0], (), True), ({"type": "hpt"}, [1.0, 1.0], (), False),
        ({"type": "sft"}, [1.0, 1.0], (), True),
    ],
)  # fmt: skip
def test_each_method_says_what_is_informative(settings, rewards, guided, informative):
    algorithm = registry.build(TrainingConfig(algorithm=settings), 0)
    assert algorithm.is_informative(group(PROBLEMS[0], rewards, guided)) == informative


class SomeNever(HashVerifier):
    """Half of the problems is never solved, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, text: str, problem: Problem) -> Verdict:
        self.asked.append(problem.id)
        wrong = Verdict(correct=False, extracted=None, reason="wrong")
        return wrong if problem.id[-1] in "02468ace" else super().score(text, problem)


@pytest.mark.slow
def test_a_run_refills_and_a_resumed_one_draws_the_same(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.refill_rounds=2"])
    whole, cut, verifier = Recorder(), Recorder(stop_after=1), SomeNever()
    expected = run(tmp_path / "whole", config, model_folder, data_folder, whole, verifier)
    assert sum(row["refill/all_wrong"] for row in whole.rows.values()) > 0
    assert all({"refill/left", "refill/all_right", "refill/tokens"} <= row.keys() for row in whole.rows.values())
    assert len(verifier.asked) > 4 * 3 * (3 + 2), "more was sampled than without"
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", config, model_folder, data_folder, cut, SomeNever())
    cut.stop_after = None
    resumed = run(tmp_path / "cut", config, model_folder, data_folder, cut, SomeNever())
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_refill_and_overlap_exclude_each_other():
    with pytest.raises(ConfigError, match="refill_rounds is 1 with overlap"):
        load_config(None, ["training.refill_rounds=1", "training.overlap=true"])
