"""Guided rollouts only where the student fails alone, the same budget elsewhere, and each rollout by its own seed."""

from __future__ import annotations

import pytest
import torch
from samples import HashVerifier

from sgpo.algorithms import registry
from sgpo.config import SamplingConfig, load_config
from sgpo.problems import Problem
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes, Response
from sgpo.training.checkpoints.prefetched_rollouts import read_rollouts, write_rollouts
from sgpo.training.clock import Clock
from sgpo.training.sampled_batches import SampledBatches
from sgpo.training.sync import SharedWeights
from sgpo.training.world import World

PROBLEMS = [Problem(question=f"What is {number} + 1?", answer=str(number + 1)) for number in range(12)]


class BySeed:
    """An engine whose response is a function of the seed."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def generate(self, prompts, sampling, seeds) -> list[Response]:
        self.calls.append(len(prompts))
        return [Response((10 + seed % 97, 10 + seed % 89), (-1.0, -1.0), "stop", 0) for seed in seeds]

    def release_device(self) -> None:
        pass


def sample(tokenizer, sizes: GroupSizes, strategies=None):
    engine = BySeed()
    texts = {problem.id: "Add one." for problem in PROBLEMS} if strategies is None else strategies
    sampler = Sampler(engine, tokenizer, HashVerifier(), texts, run_seed=3)
    return sampler.sample(PROBLEMS, sizes, SamplingConfig(), step=5)[0], engine.calls


def test_problems_that_pass_get_further_autonomous_rollouts_for_the_guided_ones(tokenizer):
    everywhere, one_call = sample(tokenizer, GroupSizes(4, 2))
    by_need, two_calls = sample(tokenizer, GroupSizes(4, 2, guided_below=0.5))
    assert (one_call, two_calls) == ([72], [48, 24])
    needy = 0
    for plain, gated in zip(everywhere, by_need, strict=True):
        rate = sum(rollout.reward for rollout in plain.autonomous) / 4
        assert gated.autonomous[:4] == plain.autonomous
        if rate < 0.5:
            assert gated == plain
            needy += 1
        else:
            assert (len(gated.autonomous), gated.guided) == (6, ())
            assert len({rollout.seed for rollout in gated.autonomous}) == 6
            assert all(rollout.group == "autonomous" for rollout in gated.autonomous)
    assert 0 < needy < 12


def test_without_a_strategy_nothing_is_drawn_in_its_place(tokenizer):
    samples, calls = sample(tokenizer, GroupSizes(4, 2, guided_below=1.0), {})
    assert calls == [48, 0]
    assert all((len(problem.autonomous), len(problem.guided)) == (4, 0) for problem in samples)


@pytest.mark.parametrize("bound", ["0", "1.5"])
def test_a_bound_that_is_no_pass_rate_is_refused(bound):
    with pytest.raises(ValueError, match=r"guided_below"):
        load_config(None, [f"training.algorithm.guided_below={bound}"])


def drawn_by(tokenizer, processes: int, folder, bound: str = "null"):
    """A step of three problems in eight places, as a checkpoint keeps and gives back what its processes have drawn."""
    few = [
        "training.problems_per_step=8", "training.algorithm.autonomous_rollouts=4",
        "training.algorithm.guided_rollouts=2", f"training.algorithm.guided_below={bound}",
    ]  # fmt: skip
    config, texts = load_config(None, few), {problem.id: "Add one." for problem in PROBLEMS}
    folder.mkdir()
    for rank in range(processes):
        sampler = Sampler(BySeed(), tokenizer, HashVerifier(), texts, run_seed=3)
        algorithm, world = registry.build(config.training, 0), World(rank, processes, torch.device("cpu"))
        batches = SampledBatches(sampler, SharedWeights(), config, algorithm, PROBLEMS[:3], world)
        write_rollouts(batches.of(5, Clock()), folder, rank)
    found = read_rollouts(folder)
    assert found is not None
    assert [one.problem_id for one in found] == [problem.id for problem in batches.problems_of(5)]
    return found


@pytest.mark.parametrize("bound", ["null", "0.5"])
def test_a_problem_that_a_step_has_again_is_drawn_anew_and_the_first_time_as_ever(tokenizer, tmp_path, bound):
    found, first = drawn_by(tokenizer, 1, tmp_path / "1", bound), {}
    seeds = [rollout.seed for one in found for rollout in (*one.autonomous, *one.guided)]
    assert len(found) == 8
    assert len(set(seeds)) == len(seeds) == 48
    for one in found:
        first.setdefault(one.problem_id, one)
    ever = sample(tokenizer, GroupSizes(4, 2, None if bound == "null" else float(bound)))[0]
    assert all(first[one.problem_id].autonomous == one.autonomous for one in ever[:3])
    assert all(first[one.problem_id].guided == one.guided for one in ever[:3])


def test_what_is_drawn_for_a_problem_again_does_not_depend_on_the_processes(tokenizer, tmp_path):
    alone = drawn_by(tokenizer, 1, tmp_path / "1")
    assert drawn_by(tokenizer, 2, tmp_path / "2") == alone
    assert drawn_by(tokenizer, 3, tmp_path / "3") == alone
