"""What checkpoints keep of a run beside tensors: counts that a step changes, and the keys on disk."""

import json

import pytest

from sgpo.training.recovery.state import RunState, after_step, after_validation, at_checkpoint, first_state


def metrics(**more: float) -> dict[str, float]:
    return {"optim/steps_skipped": 0.0, "optim/grad_norm": 1.0, **more}


def test_steps_that_are_not_taken_are_kept_until_one_is() -> None:
    state = first_state("digest")
    for step, norm in enumerate([float("inf"), 7.0]):
        state = after_step(state, step, metrics(**{"optim/steps_skipped": 1.0, "optim/grad_norm": norm}), ["a", "b"])
    assert state["skipped"] == [
        {"step": 0, "grad_norm": "not finite", "problems": ["a", "b"]},
        {"step": 1, "grad_norm": 7.0, "problems": ["a", "b"]},
    ]
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert after_step(state, 2, metrics(), ["a"])["skipped"] == []


@pytest.mark.parametrize(("rewards", "score"), [([0.25, None, 0.75], 0.5), ([0.0], 0.0), ([None, None], 0.0)])
def test_the_score_is_the_mean_reward_of_the_steps_that_have_one(rewards: list[float | None], score: float) -> None:
    state = first_state("digest")
    for step, reward in enumerate(rewards):
        state = after_step(state, step, metrics() if reward is None else metrics(**{"reward/autonomous": reward}), [])
    kept = at_checkpoint(state, score_by_reward=True)
    assert kept.get("score") == score
    assert (kept["step"], kept["reward_sum"], kept["reward_steps"]) == (len(rewards), 0.0, 0)
    assert "score" not in at_checkpoint(state, score_by_reward=False)


def test_a_recorded_step_leaves_its_validation_and_nothing_unrecorded() -> None:
    trained: RunState = {**first_state("digest"), "step": 4, "unrecorded": [{"loss/total": 1.0}, {}]}
    assert "validations" not in after_validation(trained, None)
    once = after_validation(trained, 0.5)
    twice = after_validation({**once, "step": 8, "unrecorded": [{}, {}]}, 0.25)
    assert twice == {
        "step": 8, "config": "digest", "skipped": [], "reward_sum": 0.0, "reward_steps": 0, "score": 0.25,
        "validations": [{"step": 4, "avg_at_k": 0.5}, {"step": 8, "avg_at_k": 0.25}],
    }  # fmt: skip
    assert trained["step"] == 4
    assert "unrecorded" in trained
