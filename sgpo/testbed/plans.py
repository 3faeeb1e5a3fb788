"""Plans: one option for each decision in play. A world of D decisions has 2^D of them, each with a strategy's name."""

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

from sgpo.testbed.decisions import DECISIONS, USUAL, Decision, Option, Working, in_order


@dataclass(frozen=True)
class Plan:
    """How to reason about a ledger; which plan is right is told only by the wording of the question.

    `choices` are names of options, of the first decisions of the table in its order.
    """

    choices: tuple[str, ...]

    @cached_property
    def options(self) -> dict[str, Option]:
        """The options by their decision's name, in the order of a trace."""
        chosen = {
            decision.name: next(option for option in decision.options if option.name == choice)
            for decision, choice in zip(DECISIONS, self.choices, strict=False)
        }
        return {decision.name: chosen[decision.name] for decision in self.decisions}

    @cached_property
    def decisions(self) -> list[Decision]:
        """The decisions in play, in the order of a trace."""
        return in_order(DECISIONS[: len(self.choices)])

    @cached_property
    def name(self) -> str:
        """The strategy's name, such as `Late reverse swing to the rim`."""
        return " ".join(option.title for option in self.options.values() if option.title).capitalize()

    def follow(self, known: int, changes: tuple[int, ...]) -> Working:
        """Return what following this plan makes of the known count and the log."""
        working = Working(start=known, moves=changes)
        for option in self.options.values():
            working = option.effect(working)
        return working

    def but(self, decision: Decision) -> "Plan":
        """Return this plan with one decision taken the other way."""
        index = DECISIONS.index(decision)
        other = next(option.name for option in decision.options if option.name != self.choices[index])
        return Plan((*self.choices[:index], other, *self.choices[index + 1 :]))


@lru_cache
def plans_of(decisions: int = USUAL) -> tuple[Plan, ...]:
    """Return all plans of a world with so many decisions."""
    choices = ([option.name for option in decision.options] for decision in DECISIONS[:decisions])
    return tuple(Plan(chosen) for chosen in itertools.product(*choices))
