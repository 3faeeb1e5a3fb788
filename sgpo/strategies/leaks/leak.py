"""A check, without any model, of what a strategy must not give away [docs/method.md section 2, criterion iv].

A strategy leaks when it states the final answer (`stated_answers`), states a numeric result that the question does not
contain, or carries out a computation (`stated_results`). Numbers that any method is worded with (two cases, 90 degrees,
modulo 10) are no results.
"""

from collections.abc import Sequence
from typing import Protocol

from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.quantities import normalised, quantities
from sgpo.strategies.leaks.stated_answers import states_answer
from sgpo.strategies.leaks.stated_results import states_result
from sgpo.strategies.leaks.wording import REFERENCE, excerpt
from sgpo.strategies.refusals import Refusal


class Described(Protocol):
    """The three parts of a strategy, parsed or stored."""

    @property
    def problem_type(self) -> str: ...
    @property
    def approach(self) -> str: ...
    @property
    def steps(self) -> Sequence[str]: ...


def find_leak(strategy: Described, problem: Problem) -> Refusal | None:
    """Why `strategy` gives away the solution of `problem`, or None when it does not.

    Numbers are compared as exact fractions without their sign; a text answer counts where it stands in the strategy but
    not in the question. Step numbers are not seen: `strategy.steps` is parsed.
    """
    texts = [normalised(text) for text in (strategy.problem_type, strategy.approach, *strategy.steps)]
    question = normalised(problem.question)
    given = {quantity.value for quantity in quantities(question)}
    stated = [(text, list(quantities(REFERENCE.sub(" ", text)))) for text in texts]
    for text, numbers in stated:
        if states_answer(text, numbers, problem, given):
            return Refusal("states_answer", f"states the final answer '{problem.answer}': {excerpt(text)}")
    results = (states_result(text, numbers, question, given) for text, numbers in stated)
    return next((refusal for refusal in results if refusal), None)
