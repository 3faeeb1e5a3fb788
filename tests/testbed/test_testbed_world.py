"""The testbed world: the wording alone tells each decision, plans give different answers, splits share nothing."""

from __future__ import annotations

import contextlib
import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sgpo.config.testbed import CorpusConfig, WorldConfig
from sgpo.testbed import base_model
from sgpo.testbed.corpus import draw_example
from sgpo.testbed.decisions import DECISIONS, FEWEST
from sgpo.testbed.ledger import Ledger
from sgpo.testbed.plans import Plan, plans_of
from sgpo.testbed.stories import STORIES, QuestionError, ask, read
from sgpo.testbed.strategies import describe
from sgpo.testbed.traces import deciding_words, write_trace
from sgpo.testbed.world import CAPACITIES, TIERS, TRAINING_TIERS, build_split, draw_ledger, draw_problem, split_of

seeds = st.integers(0, 2**32)
tiers = st.sampled_from(TIERS)
worlds = st.integers(FEWEST, len(DECISIONS))
plans = worlds.flatmap(lambda decisions: st.sampled_from(plans_of(decisions)))
ledgers = st.builds(
    Ledger, st.integers(0, 999), st.integers(0, 999), st.lists(st.integers(0, 99), min_size=2, max_size=8).map(tuple)
)


def count_by_hand(ledger: Ledger, choices: tuple[str, ...]) -> list[int]:
    """The counts of a plan, computed plainly from its options' names; the answer is the last number."""
    count = ledger.known * (2 if "pair" in choices else 1)
    counts, number, step = [count], 0, 0
    for index, change in enumerate(ledger.changes):
        if index == 0 and "void" in choices:
            continue
        leaves = "swing" in choices and number % 2 == 1
        if "reverse" in choices:
            leaves = not leaves
        step = -change if leaves else change
        counts.append(counts[-1] + step)
        number += 1
    if "again" in choices:
        counts.append(counts[-1] + step)
    return [*counts, ledger.capacity - counts[-1] if "room" in choices else counts[-1]]


@given(ledgers, plans)
def test_a_plan_gives_what_plain_arithmetic_gives(ledger, plan):
    assert [*ledger.counts(plan), ledger.answer(plan)] == count_by_hand(ledger, plan.choices)


def test_six_decisions_by_hand():
    """Pairs: 40. The 2 is void. Undone, in turns: 40 - 5 + 1, and the 1 once more: 37. Room of 150: 113."""
    ledger = Ledger(capacity=150, known=20, changes=(2, 5, 1))
    plan = Plan(("reverse", "swing", "room", "void", "again", "pair"))
    assert ledger.counts(plan) == (40, 35, 36, 37)
    assert ledger.answer(plan) == 113
    assert plan.name == "Paired late reverse swing with echo to the rim"
    assert [plan.name for plan in plans_of(3)] == [
        "Forward sum", "Forward sum to the rim", "Forward swing", "Forward swing to the rim",
        "Reverse sum", "Reverse sum to the rim", "Reverse swing", "Reverse swing to the rim",
    ]  # fmt: skip


@given(ledgers, worlds)
def test_a_ledger_is_fair_when_no_two_plans_agree_and_every_count_has_room(ledger, decisions):
    names = ([option.name for option in decision.options] for decision in DECISIONS[:decisions])
    ways = list(itertools.product(*names))
    worked = [count_by_hand(ledger, choices) for choices in ways]
    within = all(0 <= count <= ledger.capacity for counts in worked for count in counts[:-1])
    assert ledger.is_fair(decisions) == (within and len({counts[-1] for counts in worked}) == len(ways))


@given(seeds, tiers, plans)
def test_every_problem_is_fair_and_its_answer_is_its_right_plans(seed, tier, plan):
    decisions = len(plan.choices)
    problem, ledger, right = draw_problem("train", tier, random.Random(seed), decisions)
    answers = {other: count_by_hand(ledger, other.choices)[-1] for other in plans_of(decisions)}
    assert problem.answer == str(answers[right])
    assert len(set(answers.values())) == 2**decisions
    assert all(0 <= count <= max(CAPACITIES) for count in answers.values())


@given(ledgers, plans, st.sampled_from(STORIES), seeds)
def test_a_question_reads_back_as_what_it_was_made_from(ledger, plan, story, seed):
    assert read(ask(ledger, plan, story, random.Random(seed))) == (ledger, plan)


@given(st.text(max_size=200))
def test_other_texts_are_not_questions(text):
    with pytest.raises(QuestionError):
        read(text)


@given(plans, seeds, st.data())
def test_a_question_without_one_of_its_sentences_is_no_question_or_one_of_a_smaller_world(plan, seed, data):
    ledger = Ledger(150, 30, (2, 5, 1))
    sentences = re.findall(r"[^.?]+[.?] ?", ask(ledger, plan, STORIES[0], random.Random(seed)))
    sentences.pop(data.draw(st.integers(0, len(sentences) - 1)))
    smaller = {(ledger, Plan(plan.choices[:n])) for n in range(FEWEST, len(plan.choices))}
    with contextlib.suppress(QuestionError):
        assert read("".join(sentences)) in smaller


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.name)
def test_only_a_decisions_own_sentence_tells_it(decision):
    """With the same draws, questions for two plans that differ in one decision differ in one sentence."""
    ledger, plan = Ledger(150, 30, (2, 5, 1)), plans_of(len(DECISIONS))[0]
    for seed in range(40):
        one, other = (ask(ledger, way, STORIES[0], random.Random(seed)) for way in (plan, plan.but(decision)))
        pairs = list(zip(re.findall(r"[^.?]+[.?]", one), re.findall(r"[^.?]+[.?]", other), strict=True))
        assert len([pair for pair in pairs if pair[0] != pair[1]]) == 1
        assert re.findall(r"\d+", one) == re.findall(r"\d+", other)


@given(plans, seeds, tiers)
def test_a_trace_reads_the_question_rightly_and_ends_in_its_plans_answer(plan, seed, tier):
    choose = random.Random(seed)
    _, ledger, right = draw_problem("pretraining", tier, choose, len(plan.choices))
    trace = write_trace(ledger, right, plan, choose)
    assert trace.endswith(f"\\boxed{{{count_by_hand(ledger, plan.choices)[-1]}}}.")
    facts = trace.split(".")[0].lower()
    for option in right.options.values():
        assert any(fact in facts for fact in option.fact)
    for option in set(all_options(right)) - set(right.options.values()):
        assert not any(fact in facts for fact in option.fact)
    numbers = [int(number) for number in re.findall(r"\d+", trace)]
    assert all(count in numbers for count in ledger.counts(plan)[1:])


def all_options(plan: Plan) -> list:
    return [option for decision in plan.decisions for option in decision.options]


@given(worlds, seeds, tiers)
def test_each_decision_is_carried_out_at_a_place_of_its_own(decisions, seed, tier):
    """Up to where a decision is carried out, traces of two plans that differ in it alone are the same."""
    _, ledger, right = draw_problem("pretraining", tier, random.Random(seed), decisions)
    plan = random.Random(seed).choice(plans_of(decisions))
    words = write_trace(ledger, right, plan, random.Random(seed)).split(" ")
    places = []
    for decision in plan.decisions:
        other = write_trace(ledger, right, plan.but(decision), random.Random(seed)).split(" ")
        places.append(next(index for index, pair in enumerate(zip(words, other, strict=False)) if pair[0] != pair[1]))
    assert places == sorted(set(places))


def test_the_words_that_decide_are_those_at_which_the_traces_of_two_plans_part():
    words, choose = deciding_words(), random.Random(0)
    for decision in DECISIONS * 20:
        plan, seed = choose.choice(plans_of(6)), choose.random()
        ledger = draw_ledger("train", 2, choose, 6)
        one, other = (write_trace(ledger, plan, way, random.Random(seed)) for way in (plan, plan.but(decision)))
        assert next(a for a, b in zip(one.split(), other.split(), strict=False) if a != b).lower().strip(".") in words


def test_tiers_differ_in_how_many_entries_are_followed_and_two_are_left_without_the_first():
    for decisions in range(FEWEST, len(DECISIONS) + 1):
        for tier in TIERS:
            entries = len(draw_ledger("train", tier, random.Random(0), decisions).changes)
            assert entries == tier + 1 + (decisions >= 4)


@pytest.mark.parametrize("decisions", [3, 6])
def test_splits_share_no_ledger_and_training_stays_below_the_hardest_tier(decisions):
    config = WorldConfig(train=200, tuning=100, held_out=150, decisions=decisions)
    ledgers = {}
    for split in ("train", "tuning", "held_out"):
        problems = build_split(config, split)
        assert len(problems) == getattr(config, split) == len({problem.id for problem in problems})
        asked = [read(problem.question) for problem in problems]
        ledgers[split] = {ledger for ledger, _ in asked}
        assert {len(plan.choices) for _, plan in asked} == {decisions}
        assert {split_of(ledger) for ledger in ledgers[split]} == {split}
        assert {problem.difficulty for problem in problems} == set(TRAINING_TIERS if split == "train" else TIERS)
    assert not ledgers["train"] & ledgers["held_out"]
    assert not ledgers["tuning"] & ledgers["held_out"]


def test_the_setting_takes_as_many_decisions_as_the_table_has():
    for decisions in (FEWEST, len(DECISIONS)):
        assert WorldConfig(decisions=decisions).decisions == decisions
    for decisions in (FEWEST - 1, len(DECISIONS) + 1):
        with pytest.raises(ValidationError, match="decisions"):
            WorldConfig(decisions=decisions)


def test_the_world_is_a_function_of_its_seed():
    config = WorldConfig(train=30)
    assert build_split(config, "train") == build_split(config, "train")
    assert build_split(config, "train") != build_split(WorldConfig(train=30, seed=1), "train")


def test_the_corpus_never_shows_a_ledger_of_another_split():
    choose = random.Random(0)
    for _ in range(200):
        ledger, _ = read(draw_example(CorpusConfig(), choose, decisions=choose.randint(2, 6)).question)
        assert split_of(ledger) == "pretraining"


@pytest.mark.parametrize("decisions", [3, 6])
@pytest.mark.parametrize("chance", [0.0, 0.65, 1.0])
def test_the_corpus_chooses_each_decision_rightly_with_the_given_chance(chance, decisions):
    choose = random.Random(1)
    config = CorpusConfig(guided=0.0, chosen_right=chance)
    examples = [draw_example(config, choose, decisions=decisions) for _ in range(600)]
    right, each = 0, [0] * decisions
    for example in examples:
        ledger, plan = read(example.question)
        followed = next(p for p in plans_of(decisions) if example.response.endswith(f"{{{ledger.answer(p)}}}."))
        right += followed == plan
        each = [n + (a == b) for n, a, b in zip(each, followed.choices, plan.choices, strict=True)]
    assert right / len(examples) == pytest.approx(chance**decisions, abs=0.06)
    assert [count / len(examples) for count in each] == pytest.approx([chance] * decisions, abs=0.06)


@given(plans, seeds)
def test_a_strategy_names_its_plan_tells_every_decision_and_states_no_number(plan, seed):
    problem_type, approach, steps = describe(plan, random.Random(seed))
    assert approach.startswith(f"{plan.name}, ")
    assert len(steps) == len(plan.choices)
    for option, step in zip(plan.options.values(), steps, strict=True):
        assert step in option.told
    assert not re.search(r"\d", " ".join((problem_type, approach, *steps)))
    assert len({plan.name for plan in plans_of(len(plan.choices))}) == 2 ** len(plan.choices)


def test_the_tokenizer_restores_text_exactly_and_numbers_are_one_token_everywhere():
    tokenizer, choose = base_model.testbed_tokenizer(), random.Random(0)
    examples = [draw_example(CorpusConfig(), choose, decisions=choose.randint(2, 6)) for _ in range(1000)]
    texts = [text for e in examples for text in (e.question, e.response, *([e.strategy] if e.strategy else []))]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
        numbers = [tokenizer.convert_ids_to_tokens(index) for index in ids]
        assert [token for token in numbers if token.isdigit()] == re.findall(r"\d+", text)
