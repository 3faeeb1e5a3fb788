"""The testbed world: choosing the strategy is a real decision, and splits share nothing."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.config.testbed import CorpusConfig, WorldConfig
from sgpo.testbed.corpus import draw_example
from sgpo.testbed.ledger import PLANS, Ledger
from sgpo.testbed.stories import STORIES, QuestionError, ask, read
from sgpo.testbed.tokenizer import build_tokenizer
from sgpo.testbed.traces import write_trace
from sgpo.testbed.world import TIERS, TRAINING_TIERS, build_split, draw_problem, split_of

seeds = st.integers(0, 2**32)


@given(seeds, st.sampled_from(TIERS))
def test_every_other_plan_gives_another_answer(seed, tier):
    problem, ledger, right = draw_problem("train", tier, random.Random(seed))
    answers = {plan: ledger.answer(plan) for plan in PLANS}
    assert str(answers[right]) == problem.answer
    assert len(set(answers.values())) == len(PLANS) == 8


def test_a_plan_by_hand():
    ledger = Ledger(capacity=40, known=20, changes=(3, 5, 2))
    answers = {plan.name: ledger.answer(plan) for plan in PLANS}
    assert answers == {
        "Forward sum": 30, "Forward sum to the rim": 10, "Forward swing": 20, "Forward swing to the rim": 20,
        "Reverse sum": 10, "Reverse sum to the rim": 30, "Reverse swing": 20, "Reverse swing to the rim": 20,
    }  # fmt: skip
    assert not ledger.is_fair()


@given(seeds, st.sampled_from(TIERS))
def test_a_question_reads_back_as_what_it_was_made_from(seed, tier):
    problem, ledger, plan = draw_problem("held_out", tier, random.Random(seed))
    assert read(problem.question) == (ledger, plan)


@given(st.text(max_size=200))
def test_other_texts_are_not_questions(text):
    with pytest.raises(QuestionError):
        read(text)


def test_every_story_asks_for_every_plan_in_the_same_words():
    ledger = Ledger(capacity=40, known=20, changes=(1, 5, 2))
    shells = set()
    for story in STORIES:
        for plan in PLANS:
            question = ask(ledger, plan, story, random.Random(3))
            assert read(question)[1] == plan
            shells.add(re.sub(r"\d+", "#", question).split(".")[0])
    assert len(shells) <= 2 * len(STORIES)


@given(seeds, st.sampled_from(TIERS), st.sampled_from(PLANS))
def test_a_trace_carries_its_plan_out_and_reads_the_question_rightly(seed, tier, plan):
    choose = random.Random(seed)
    _, ledger, right = draw_problem("pretraining", tier, choose)
    trace = write_trace(ledger, right, plan, choose)
    assert trace.endswith(f"\\boxed{{{ledger.answer(plan)}}}.")
    assert ("first count" in trace) == (right.direction == "forward")
    numbers = [int(number) for number in re.findall(r"\d+", trace)]
    assert all(count in numbers for count in ledger.counts(plan))


def test_splits_share_no_ledger_and_training_stays_below_the_hardest_tier():
    config = WorldConfig(train=200, tuning=100, held_out=150)
    ledgers = {}
    for split in ("train", "tuning", "held_out"):
        problems = build_split(config, split)
        assert len(problems) == getattr(config, split) == len({problem.id for problem in problems})
        ledgers[split] = {read(problem.question)[0] for problem in problems}
        assert {split_of(ledger) for ledger in ledgers[split]} == {split}
        assert {problem.difficulty for problem in problems} == set(TRAINING_TIERS if split == "train" else TIERS)
    assert not ledgers["train"] & ledgers["held_out"]
    assert not ledgers["tuning"] & ledgers["held_out"]


def test_the_world_is_a_function_of_its_seed():
    config = WorldConfig(train=30)
    assert build_split(config, "train") == build_split(config, "train")
    assert build_split(config, "train") != build_split(WorldConfig(train=30, seed=1), "train")


def test_the_corpus_never_shows_a_ledger_of_another_split():
    choose = random.Random(0)
    for _ in range(200):
        assert split_of(read(draw_example(CorpusConfig(), choose).question)[0]) == "pretraining"


@pytest.mark.parametrize("chance", [0.0, 0.65, 1.0])
def test_the_corpus_chooses_each_decision_rightly_with_the_given_chance(chance):
    choose = random.Random(1)
    config = CorpusConfig(guided=0.0, chosen_right=chance)
    examples = [draw_example(config, choose) for _ in range(600)]
    right = 0
    for example in examples:
        ledger, plan = read(example.question)
        right += example.response.endswith(f"{{{ledger.answer(plan)}}}.")
    assert right / len(examples) == pytest.approx(chance**3, abs=0.06)


def test_the_tokenizer_restores_text_exactly_and_numbers_are_one_token_everywhere():
    choose = random.Random(0)
    examples = [draw_example(CorpusConfig(), choose) for _ in range(2000)]
    texts = [text for e in examples for text in (e.question, e.response, *([e.strategy] if e.strategy else []))]
    tokenizer = build_tokenizer(texts)
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
        numbers = [tokenizer.convert_ids_to_tokens(index) for index in ids]
        assert [token for token in numbers if token.isdigit()] == re.findall(r"\d+", text)
