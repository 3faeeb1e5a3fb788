"""Wrong strategies on purpose: of another type, the same for the same seed, spread over what there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sgpo.strategies.contrast import contrasts_of
from sgpo.strategies.schema import CRITERIA, Strategy


def bank(types: list[str]) -> dict[str, Strategy]:
    return {
        f"p{place}": Strategy(
            problem_id=f"p{place}", problem_type=kind, approach=f"approach {place}", steps=["one"], score=1.0,
            scores=dict.fromkeys(CRITERIA, 1.0), teacher="t", prompt_version="1", candidates_seen=1,
        )
        for place, kind in enumerate(types)
    }  # fmt: skip


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 3))
def test_the_wrong_strategy_is_anothers_of_another_type(types, seed):
    strategies = bank(types)
    contrasts = contrasts_of(strategies, seed)
    assert contrasts == contrasts_of(strategies, seed)
    assert contrasts.keys() == (strategies.keys() if len(set(types)) > 1 else set())
    by_text = {strategy.text(): strategy for strategy in strategies.values()}
    for name, text in contrasts.items():
        assert by_text[text].problem_type != strategies[name].problem_type


def test_another_seed_chooses_others_and_all_are_chosen_at_some_time():
    strategies = bank(["a"] * 5 + ["b"] * 5)
    chosen = [contrasts_of(strategies, seed)["p0"] for seed in range(60)]
    assert len(set(chosen)) == 5
