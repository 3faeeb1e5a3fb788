import pytest
from banks import PARITY, VIETA, strategy, worded_bank
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems.schema import Problem
from sgpo.strategies.refusals import Refusal
from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.families import find_families
from sgpo.strategies.view.listing import ListingError, find_family, list_families, list_strategies, show

PROBLEMS = [Problem(id=name, question=f"What is asked in {name}?", answer="17") for name in ("aa1", "aa2", "b", "c")]
BANK = {
    "aa1": strategy("aa1", score=0.9),
    "aa2": strategy("aa2", score=0.6),
    "b": strategy("b", PARITY, 0.8, problem_type="Tiling"),
}
FAMILIES = find_families(BANK.values())
REFUSALS = [
    Refusal("states_answer", "states the final answer '17'").of("aa1", "candidate", 2, "It is 17."),
    Refusal("no_response", "no accepted response\nto extract from").of("c", "problem"),
]


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[1:-1]]


def test_strategies_are_listed_from_the_best_score_on() -> None:
    lines = list_strategies(BANK, width=200)
    assert names(lines) == ["aa1", "b", "aa2"]
    assert lines[1].split()[:4] == ["aa1", "0.90", "high", "Roots"]
    assert lines[1].endswith(VIETA)
    assert lines[2].split()[:4] == ["b", "0.80", "high", "Tiling"]
    assert lines[-1] == "3 strategies"


def test_the_list_is_filtered_by_band_words_and_family() -> None:
    vieta = find_family(FAMILIES, FAMILIES[0].id[:6])
    assert names(list_strategies(BANK, band="high")) == ["aa1", "b"]
    assert names(list_strategies(BANK, text="CHESSBOARD")) == ["b"]
    assert names(list_strategies(BANK, family=vieta)) == ["aa1", "aa2"]
    assert names(list_strategies(BANK, family=vieta, band="medium")) == ["aa2"]
    assert list_strategies(BANK, band="low") == ["0 strategies found"]


def test_a_limit_says_how_many_there_are() -> None:
    lines = list_strategies(BANK, band="high", limit=1)
    assert (names(lines), lines[-1]) == (["aa1"], "1 of 2 strategies found")
    assert list_strategies(BANK, limit=2)[-1] == "2 of 3 strategies"


def test_a_narrow_terminal_cuts_the_words_and_not_the_ids() -> None:
    lines = list_strategies(BANK, width=50)
    assert all(len(line) <= 50 for line in lines)
    assert [line.split()[:3] for line in lines[1:3]] == [["aa1", "0.90", "high"], ["b", "0.80", "high"]]
    assert lines[1].endswith("…")


@given(st.lists(st.text(max_size=30).filter(str.strip), min_size=1, max_size=6), st.integers(40, 200))
@settings(max_examples=40, deadline=None)
def test_every_strategy_is_one_line_whatever_its_text(texts: list[str], width: int) -> None:
    bank = {f"p{index}": strategy(f"p{index}", text) for index, text in enumerate(texts)}
    assert len(list_strategies(bank, width=width)) == len(bank) + 2


def test_brackets_in_a_strategy_are_no_markup() -> None:
    bank = {"a": strategy("a", "Work in Z[i] and [bold]factor[/bold] [x].")}
    families = find_families(bank.values())
    assert list_strategies(bank)[1].endswith("Work in Z[i] and [bold]factor[/bold] [x].")
    assert any("Z[i] and [bold]" in line for line in show("b", PROBLEMS, {"b": bank["a"]}, families, []))


def test_families_are_listed_in_their_order() -> None:
    lines = list_families(FAMILIES)
    assert names(lines) == [family.id for family in FAMILIES]
    assert lines[1].split()[1:3] == ["2", "0.90"]
    assert lines[-1] == "2 families of 3 strategies"
    assert list_families([]) == ["0 families of 0 strategies"]


def test_one_problem_is_shown_with_all_that_is_known() -> None:
    text = "\n".join(show("aa1", PROBLEMS, BANK, FAMILIES, REFUSALS))
    for part in (
        "What is asked in aa1?", VIETA, "1. Write what is known.", "2. Substitute it.", "0.90 (high)", "no_leak 0.90",
        f"{FAMILIES[0].id}, 2 problems: also aa2", "candidate 2: states_answer, states the final answer '17'",
    ):  # fmt: skip
        assert part in text
    assert "no_response" not in text


def test_a_problem_without_a_strategy_shows_why() -> None:
    lines = show("c", PROBLEMS, BANK, FAMILIES, REFUSALS)
    assert "Strategy  none" in lines
    assert lines[-1] == "Refused   problem: no_response, no accepted response to extract from"
    assert show("b", PROBLEMS, BANK, FAMILIES, REFUSALS)[-1] == "Refused   nothing"


def test_an_id_may_be_cut_short_where_it_is_unique() -> None:
    assert show("aa2", PROBLEMS, BANK, FAMILIES, [])[0] == "Problem   aa2"
    assert show("b", PROBLEMS, BANK, FAMILIES, [])[0] == "Problem   b"
    with pytest.raises(ListingError, match=r"problem 'aa' is the beginning of 2 ids \(expected that of one\)"):
        show("aa", PROBLEMS, BANK, FAMILIES, [])
    with pytest.raises(ListingError, match=r"no problem 'd' \(expected the id, or its beginning, of one of 4\)"):
        show("d", PROBLEMS, BANK, FAMILIES, [])
    with pytest.raises(ListingError, match=r"no family 'zz'"):
        find_family(FAMILIES, "zz")


def test_a_large_family_names_only_some_of_its_members() -> None:
    strategies, _ = worded_bank(400)
    bank: dict[str, Strategy] = {item.problem_id: item for item in strategies}
    families = find_families(strategies)
    name = families[0].members[0]
    problems = [Problem(id=name, question="What is asked?", answer="17")]
    text = " ".join(" ".join(show(name, problems, bank, families, [])).split())
    assert f"{len(families[0].members)} problems: also " in text
    assert ", … Refused nothing" in text
