"""Guided rollouts only where the student fails alone, the same budget elsewhere, and each rollout by its own seed."""

from __future__ import annotations

import pytest
from samples import HashVerifier

from sgpo.config import SamplingConfig, load_config
from sgpo.problems import Problem
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import GroupSizes, Response

PROBLEMS = [Problem(question=f"What is {number} + 1?", answer=str(number + 1)) for number in range(12)]


class BySeed:
    """An engine whose response is a function of the seed."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def generate(self, prompts, sampling, seeds) -> list[Response]:
        self.calls.append(len(prompts))
        return [Response((10 + seed % 97, 10 + seed % 89), (-1.0, -1.0), "stop", 0) for seed in seeds]


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
