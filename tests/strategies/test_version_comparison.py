from banks import PARITY, VIETA, strategy, worded_bank
from hypothesis import given
from hypothesis import strategies as st

from sgpo.strategies.schema import Strategy
from sgpo.strategies.view.comparison import compare_versions, describe_diff

NAMES = st.sampled_from("abcdef")
VERSIONS = st.dictionaries(NAMES, st.tuples(st.sampled_from([VIETA, PARITY]), st.sampled_from([0.25, 0.5]))).map(
    lambda drawn: {name: strategy(name, approach, score) for name, (approach, score) in drawn.items()}
)


@given(VERSIONS)
def test_a_version_does_not_differ_from_itself(version: dict[str, Strategy]) -> None:
    diff = compare_versions(version, dict(reversed(version.items())))
    assert (diff.added, diff.removed, diff.changed) == ((), (), ())
    assert diff.unchanged == len(version)
    assert describe_diff(diff) == [f"0 added, 0 removed, 0 changed (0 in wording), {len(version)} unchanged"]


@given(VERSIONS, VERSIONS)
def test_every_problem_is_added_removed_changed_or_unchanged(
    old: dict[str, Strategy], new: dict[str, Strategy]
) -> None:
    diff = compare_versions(old, new)
    changed = tuple(change.problem_id for change in diff.changed)
    named = [*diff.added, *diff.removed, *changed]
    assert len(named) == len(set(named))
    assert set(named) <= old.keys() | new.keys()
    assert len(named) + diff.unchanged == len(old.keys() | new.keys())
    assert all(list(names) == sorted(names) for names in (diff.added, diff.removed, changed))


@given(VERSIONS, VERSIONS)
def test_the_difference_backwards_swaps_its_sides(old: dict[str, Strategy], new: dict[str, Strategy]) -> None:
    forward, backward = compare_versions(old, new), compare_versions(new, old)
    assert (forward.added, forward.removed) == (backward.removed, backward.added)
    assert [(change.old, change.new) for change in forward.changed] == [
        (change.new, change.old) for change in backward.changed
    ]


def test_a_changed_strategy_names_its_fields_in_the_order_of_the_record() -> None:
    (change,) = compare_versions({"a": strategy("a")}, {"a": strategy("a", PARITY, 0.9)}).changed
    assert change.fields == ("approach", "score", "scores")
    assert (change.old.approach, change.new.approach) == (VIETA, PARITY)


def test_the_description_shows_old_and_new_of_every_field() -> None:
    old = {"a": strategy("a"), "b": strategy("b"), "c": strategy("c")}
    new = {"b": strategy("b", steps=("Begin.", "Colour\nthe board.")), "c": strategy("c"), "d": strategy("d")}
    new["c"] = new["c"].model_copy(update={"score": 0.55})
    assert describe_diff(compare_versions(old, new)) == [
        "1 added, 1 removed, 2 changed (1 in wording), 0 unchanged",
        "+ d",
        "- a",
        "~ b: steps",
        "  - steps: 1. Write what is known. 2. Substitute it.",
        "  + steps: 1. Begin. 2. Colour the board.",
        "~ c: score",
        "    score: 0.5 -> 0.55",
    ]


def test_a_long_difference_is_cut_and_says_so() -> None:
    strategies, _ = worded_bank(30)
    diff = compare_versions({}, {item.problem_id: item for item in strategies})
    lines = describe_diff(diff, limit=2)
    assert lines[1:] == ["+ p000", "+ p001", "  … and 28 more added"]
    assert len(describe_diff(diff)) == 31
