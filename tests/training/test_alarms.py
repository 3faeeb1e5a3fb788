"""A guide that collapses is noticed once, in metrics alone, and a resumed run notices it where the whole one does."""

from __future__ import annotations

import json

import pytest

from sgpo.training.alarms import ALARM, CALM, EQUAL, MASKED_STEPS, WINDOW, watch_guide, watch_learning

GUIDED, MASS = "reward/guided", "distill/kl_mass_masked_fraction"


def watched(
    rows: list[dict[str, float]], state: dict | None = None
) -> tuple[list[float | None], list[tuple[int, str]]]:
    """The alarm's metric of every step, and the messages with their steps."""
    state, alarms, messages = state or {}, [], []
    for step, row in enumerate(rows):
        state, metrics, begun = watch_guide(json.loads(json.dumps(state)), row)
        alarms.append(metrics.get(ALARM))
        messages += [(step, message) for message in begun]
    return alarms, messages


def guided(rates: list[float]) -> list[dict[str, float]]:
    return [{GUIDED: rate, MASS: 0.1} for rate in rates]


def test_a_guided_pass_rate_that_falls_below_half_of_its_start_is_said_once():
    alarms, messages = watched(guided([0.8] * 12 + [0.1] * 30))
    # 10 steps, of which n have 0.1: 0.8 - 0.07 n < 0.4 first at n = 6, which is the 18th step.
    assert alarms == [0.0] * 17 + [1.0] * 25
    assert [step for step, _ in messages] == [17]
    assert "from 0.80 to 0.38" in messages[0][1]
    assert "guide=frozen" in messages[0][1]


@pytest.mark.parametrize("last", [0.4, 0.5])
def test_a_pass_rate_of_half_of_the_start_is_no_alarm(last):
    alarms, messages = watched(guided([0.8] * 10 + [last] * 30))
    assert alarms == [0.0] * 40
    assert not messages


def test_noise_of_single_steps_is_no_alarm():
    alarms, messages = watched(guided([0.8, 0.1, 0.9] * 20))
    assert set(alarms) == {0.0}
    assert not messages


def test_a_masked_share_above_one_half_over_several_steps_is_an_alarm():
    rows = [{GUIDED: 0.8, MASS: share} for share in [0.2] * 8 + [0.9] + [0.2] * 8 + [0.6] * 20]
    alarms, messages = watched(rows)
    assert [step for step, _ in messages] == [17 + 3]  # (0.2 + 4 * 0.6) / 5 = 0.52, three steps: 0.44
    assert alarms == [0.0] * 20 + [1.0] * 17
    assert "delta" in messages[0][1]
    assert "52%" in messages[0][1]


def test_both_causes_are_said_each_once():
    _, messages = watched([{GUIDED: 0.8, MASS: 0.1}] * 10 + [{GUIDED: 0.0, MASS: 0.9}] * 20)
    assert len(messages) == 2


def test_an_episode_ends_when_its_cause_is_gone_for_a_while_and_a_new_one_is_said_again():
    share = [0.9] * 6 + [0.1] * 4 + [0.9] * 6 + [0.1] * (CALM + 10) + [0.9] * 6
    alarms, messages = watched([{MASS: one} for one in share])
    assert [step for step, _ in messages] == [4, len(share) - 4]  # the second rise is within the first episode
    ended = alarms.index(0.0, 4)
    # The last step with a mean above one half is the 18th: 3 of 5 are 0.9.
    assert ended == 17 + CALM
    assert alarms[-1] == 1.0


def test_a_resumed_run_says_what_the_whole_one_says():
    rows = guided([0.8] * 12 + [0.1] * 20)
    alarms, messages = watched(rows)
    state: dict = {}
    for row in rows[:20]:
        state, _, _ = watch_guide(state, row)
    resumed = watched(rows[20:], json.loads(json.dumps(state)))
    assert resumed == (alarms[20:], [(step - 20, text) for step, text in messages if step >= 20])
    assert resumed[1] == []  # it was said before the checkpoint


def test_a_run_without_a_guide_has_no_alarm_and_steps_without_guided_rollouts_count_for_nothing():
    assert watched([{"reward/autonomous": 0.3}] * 30) == ([None] * 30, [])
    gaps = [row for rate in [0.8] * 12 + [0.1] * 6 for row in ({GUIDED: rate}, {})]
    alarms, messages = watched(gaps)
    assert [step for step, _ in messages] == [2 * 17]
    assert alarms[-1] == 1.0


def test_nothing_is_said_before_there_is_something_to_compare():
    rows = [{GUIDED: 0.0, MASS: 1.0}] * (MASKED_STEPS - 1)
    assert watched(rows) == ([0.0] * len(rows), [])
    assert watched(guided([0.9] + [0.0] * (WINDOW - 1)))[1] == []


def learning(norms: list[float], patience: int | None, **metrics: float) -> list[str | None]:
    """What is the matter after each step, by the gradient's norm."""
    equal, said = 0, []
    for norm in norms:
        equal, alarm, stuck = watch_learning(equal, {"optim/grad_norm": norm, **metrics}, patience)
        assert alarm == {EQUAL: equal}
        said.append(stuck)
    return said


def test_steps_in_a_row_without_any_gradient_are_said_after_so_many_and_one_with_a_gradient_begins_anew():
    said = learning([0.0, 0.0, 1e-9, 0.0, 0.0, 0.0, 0.0], 3)
    assert [message is not None for message in said] == [False] * 5 + [True, True]
    assert learning([0.0] * 50, None) == [None] * 50
    assert learning([float("inf")] * 50, 3) == [None] * 50  # skipped steps have an end of their own


def test_the_reason_is_told_from_the_rewards_and_the_responses_that_were_cut():
    cut = {"reward/autonomous": 0.0, "reward/guided": 0.0, "response/truncated_fraction": 0.97}
    assert "97% of the responses were cut at training.sampling.max_new_tokens" in str(learning([0.0], 1, **cut)[0])
    unread = {"reward/autonomous": 0.0, "reward/guided": 0.0, "response/truncated_fraction": 0.0}
    assert "a box is missing" in str(learning([0.0], 1, **unread)[0])
    assert "harder problems" in str(learning([0.0], 1, **{"reward/autonomous": 1.0})[0])
