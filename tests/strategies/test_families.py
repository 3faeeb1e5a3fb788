import random

import pytest
from banks import PARITY, VIETA, strategy, worded_bank
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.strategies.view import families
from sgpo.strategies.view.families import Family, FamilyError, family_by_problem, find_families


def test_the_same_text_is_one_family_whatever_its_typography() -> None:
    bank = [strategy("c"), strategy("a", VIETA.upper()), strategy("b", VIETA.replace(" ", "  ").rstrip("."))]
    (family,) = find_families(bank)
    assert family.members == ("a", "b", "c")


def test_the_representative_has_the_best_score_and_of_equals_the_smallest_id() -> None:
    bank = [strategy("c", VIETA + "!", 0.9), strategy("b", VIETA, 0.9), strategy("a", VIETA, 0.4)]
    (family,) = find_families(bank)
    assert (family.approach, family.score) == (VIETA, 0.9)


def test_a_word_that_differs_leaves_one_family_and_another_approach_is_another() -> None:
    bank = [strategy("a"), strategy("b", VIETA.replace("express", "write")), strategy("c", PARITY)]
    assert [family.members for family in find_families(bank)] == [("a", "b"), ("c",)]


def test_largest_families_come_first() -> None:
    bank = [strategy("a", PARITY, 1.0), strategy("b", VIETA, 0.1), strategy("c", VIETA, 0.2)]
    assert [len(family.members) for family in find_families(bank)] == [2, 1]


def test_the_id_is_that_of_the_text_and_not_of_the_bank() -> None:
    alone = find_families([strategy("a")])[0]
    among = family_by_problem(find_families([strategy("z", score=0.9), strategy("c", PARITY), strategy("a")]))
    assert alone.id == among["a"].id != among["c"].id
    assert len(alone.id) == 12


def test_families_of_the_testbed_never_mix_two_plans() -> None:
    strategies, plans = worded_bank(300)
    found = find_families(strategies)
    assert all(len({plans[name] for name in family.members}) == 1 for family in found)
    assert len(found) < len({item.text() for item in strategies}) / 2


def test_a_lower_threshold_gives_no_more_families() -> None:
    strategies, _ = worded_bank(120)
    counts = [len(find_families(strategies, threshold)) for threshold in (1.0, 0.9, 0.85, 0.6)]
    assert counts == sorted(counts, reverse=True)


def test_texts_compared_block_by_block_give_the_same_families(monkeypatch: pytest.MonkeyPatch) -> None:
    strategies, _ = worded_bank(80)
    whole = find_families(strategies)
    monkeypatch.setattr(families, "_AT_ONCE", 7)
    assert find_families(strategies) == whole


@given(st.integers(0, 40), st.integers(0, 1000), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_families_partition_the_strategies_in_any_order(count: int, seed: int, shuffle: random.Random) -> None:
    strategies, _ = worded_bank(count, seed)
    found = find_families(strategies)
    assert sorted(name for family in found for name in family.members) == [item.problem_id for item in strategies]
    assert len({family.id for family in found}) == len(found)
    shuffle.shuffle(strategies)
    assert find_families(strategies) == found


@given(st.lists(st.text(max_size=12).filter(str.strip), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_grouped(texts: list[str]) -> None:
    bank = [strategy(f"p{index}", text, steps=(text,), problem_type=text) for index, text in enumerate(texts)]
    assert sum(len(family.members) for family in find_families(bank)) == len(texts)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(FamilyError, match="threshold is"):
        find_families([strategy("a")], threshold)


def test_two_strategies_of_one_problem_are_refused() -> None:
    with pytest.raises(FamilyError, match=r"problem_id 'a' occurs twice \(expected one"):
        find_families([strategy("a"), strategy("a", PARITY)])


def test_no_strategies_have_no_families() -> None:
    assert find_families([]) == []
    assert family_by_problem([]) == {}


def test_families_are_records() -> None:
    family = find_families([strategy("a")])[0]
    assert family == Family(family.id, "Roots", VIETA, ("Write what is known.", "Substitute it."), ("a",), 0.5)
