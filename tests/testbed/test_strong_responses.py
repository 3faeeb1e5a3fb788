"""The strong model's responses: a student has a token for each of their words, they fit, and they are right."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sgpo.problems.responses import final_answer
from sgpo.rollouts.model_folder import load_model
from sgpo.testbed.bases import SHIPPED
from sgpo.testbed.decisions import DECISIONS, FEWEST
from sgpo.testbed.ledger import Ledger
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.strong_responses import as_first_written, write_response
from sgpo.testbed.world import TIERS, draw_ledger

LONGEST = 128
"""`max_new_tokens` of the study of six decisions: a student that writes as the strong model does is not cut."""
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/base.json"))
plans = st.integers(FEWEST, len(DECISIONS)).flatmap(lambda decisions: st.sampled_from(plans_of(decisions)))


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def shipped(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return load_model(request.param)[1]


@given(plan=plans, seed=st.integers(0, 2**32), tier=st.sampled_from(TIERS))
def test_every_student_knows_every_word_and_the_whole_fits(
    shipped: PreTrainedTokenizerFast, plan: Plan, seed: int, tier: int
) -> None:
    choose = random.Random(seed)
    response = write_response(draw_ledger("train", tier, choose, len(plan.choices)), plan, choose)
    ids = shipped(response, add_special_tokens=False)["input_ids"]
    assert shipped.unk_token_id is not None
    assert shipped.unk_token_id not in ids
    assert shipped.decode(ids) == response
    assert len(ids) < LONGEST


@given(plans, st.integers(0, 2**32), st.sampled_from(TIERS))
def test_it_says_why_before_it_decides_works_the_sum_and_boxes_the_answer(plan: Plan, seed: int, tier: int) -> None:
    choose = random.Random(seed)
    ledger = draw_ledger("train", tier, choose, len(plan.choices))
    response = write_response(ledger, plan, choose)
    places = [
        min(response.lower().find(fact) for fact in option.fact if fact in response.lower())
        for option in plan.options.values()
    ]
    acts = [
        response.find(re.split(r"[{.]", option.said[0])[0], place) if option.said else response.find("Now ", place)
        for option, place in zip(plan.options.values(), places, strict=True)
    ]
    assert places == sorted(places)
    assert all(0 <= place < act for place, act in zip(places, acts, strict=True))
    for other in (option for decision in plan.decisions for option in decision.options):
        if other not in plan.options.values():
            assert not any(fact in response.lower() for fact in other.fact)
    worked = re.findall(r"(?:add|drop) \w+ \d+, so (\d+)", response)
    assert tuple(map(int, worked)) == ledger.counts(plan)[1:]
    assert final_answer(response) == str(ledger.answer(plan))
    assert f"{plan.name} gives" in response


def test_a_response_by_hand_and_in_its_first_words() -> None:
    """Pairs: 40. The 2 is void. Undone, in turns: 40 - 5 + 1, and the 1 once more: 37. Room of 150: 113."""
    ledger = Ledger(capacity=150, known=20, changes=(2, 5, 1))
    plan = Plan(("reverse", "swing", "room", "void", "again", "pair"))
    response = write_response(ledger, plan, random.Random(1))
    assert response == (
        "Pair count. We have 20. Pairs make 40, first entry void. Strike first 2, last count given, "
        "some left again. Now drop second 5, so 35, add third 1, so 36, one missing. "
        "Once more, add third 1, so 37, room wanted. Free is 150 less 37, or 113. "
        "Paired late reverse swing with echo to the rim gives \\boxed{113}."
    )
    first = """<think>
The wording gives the last count of the day, 20, and a capacity of 150.
So, as to the unit: double the known count.
So, as to the first: skip the first entry.
So, as to the direction: turn every change around.
So, as to the pattern: change the sign by turns.
So, as to the last: use the last entry twice.
So, as to the finish: give what is free.
The sum begins at 40.
40 - 5 = 35
35 + 1 = 36
36 + 1 = 37
What is asked is the free room: 150 - 37 = 113.
Checking the signs once more: they agree with the wording.
</think>
The method is paired late reverse swing with echo to the rim. Therefore the result is \\boxed{113}."""
    assert as_first_written(response, ledger, plan) == first
    assert as_first_written("A response.", ledger, plan) is None
    assert as_first_written(response, ledger, plan.but(DECISIONS[0])) is None
